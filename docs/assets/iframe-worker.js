// Search needs a Worker, and browsers start none for pages that are read from disk: there, its script runs in a hidden frame.
// The offline plugin of mkdocs-material would fetch such a replacement from the network; it looks for this file's name.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = "<!doctype html>";
      this.loaded = new Promise((done) => this.frame.addEventListener("load", done, { once: true })).then(() => this.run(url));
      document.body.append(this.frame);
    }

    run(url) {
      const inner = this.frame.contentWindow;
      const load = (source) =>
        new Promise((done, fail) => {
          const script = inner.document.createElement("script");
          Object.assign(script, { src: source, onload: done, onerror: fail });
          inner.document.head.append(script);
        });
      inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      inner.importScripts = (...sources) =>
        sources.reduce((before, source) => before.then(() => load(source)), Promise.resolve());
      return load(url);
    }

    postMessage(data) {
      this.loaded.then(() => {
        const inner = this.frame.contentWindow;
        inner.dispatchEvent(new inner.MessageEvent("message", { data }));
      });
    }

    terminate() {
      this.frame.remove();
    }
  };
}
