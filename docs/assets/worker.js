// SPDX-License-Identifier: GPL-3.0-or-later
// Browsers start no worker for a page that is read from disk. Then the search's script runs in a hidden frame, which
// gives it the little of a worker that it uses.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc = `<script>self.postMessage = data => parent.postMessage({ fromSearch: data }, "*")</script>` +
        `<script src="${url}"></script>`;
      frame.addEventListener("load", () => {
        this.target = frame.contentWindow;
        this.waiting.forEach(data => this.postMessage(data));
      });
      window.addEventListener("message", event => {
        if (event.source !== frame.contentWindow || !event.data || !("fromSearch" in event.data)) return;
        const message = new MessageEvent("message", { data: event.data.fromSearch });
        this.dispatchEvent(message);
        if (this.onmessage) this.onmessage(message);
      });
      (document.body || document.documentElement).append(frame);
    }

    postMessage(data) {
      if (!this.target) this.waiting.push(data);
      else this.target.dispatchEvent(new this.target.MessageEvent("message", { data }));
    }

    terminate() {}
  };
}
