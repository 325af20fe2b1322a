// Decisions on their way to the disk, in order: nothing is dropped while the server is away.

const PAUSE = 500; // ms between attempts
const MOST = 100; // decisions in one request

export class Saver {
  #waiting = []; // decisions, and resolvers of undos between them
  #busy = false;
  #trouble = "";

  // told(count, trouble): how much is not saved yet, and why it is stuck, if it is.
  // refused(text): the server said that something will never do.
  constructor(manifest, told, refused) {
    Object.assign(this, { manifest, told, refused });
    addEventListener("beforeunload", (event) => this.#waiting.length && event.preventDefault());
  }

  // Sends a decision after everything before it, again and again until it is on disk.
  decide(decision) {
    this.#add({ decision });
  }

  // Takes the last decision back, after everything before it is on disk; resolves to what counts now, or to null.
  undo() {
    return new Promise((resolve) => this.#add({ resolve }));
  }

  #add(entry) {
    this.#waiting.push(entry);
    this.told(this.#waiting.length, this.#trouble);
    if (!this.#busy) this.#drain();
  }

  async #drain() {
    this.#busy = true;
    while (this.#waiting.length) {
      const end = this.#waiting.findIndex((entry) => entry.resolve);
      const count = Math.min(end < 0 ? this.#waiting.length : end, MOST);
      const sent = this.#waiting.slice(0, count || 1);
      const body = count ? { decisions: sent.map((entry) => entry.decision) } : {};
      const { answer, trouble } = await post(count ? "decide" : "undo", { ...body, manifest: this.manifest });
      this.#trouble = count ? trouble : ""; // an undo whose answer was lost may have been made: it is not sent again
      if (!this.#trouble) this.#waiting.splice(0, sent.length);
      this.told(this.#waiting.length, this.#trouble);
      if (this.#trouble) await new Promise((resolve) => setTimeout(resolve, PAUSE));
      else {
        if (!answer?.ok) this.refused(answer ? await answer.text() : trouble);
        if (!count) sent[0].resolve(answer?.ok ? await answer.json() : null);
      }
    }
    this.#busy = false;
  }
}

async function post(address, body) {
  try {
    const answer = await fetch(address, { method: "POST", body: JSON.stringify(body) });
    if (answer.status === 403) return { trouble: "the review was started again. Open the address that it printed, in this browser" };
    if (answer.status >= 500) return { trouble: await answer.text() };
    return { answer, trouble: "" };
  } catch {
    return { trouble: "the server does not answer. Start the review again, on this port" };
  }
}
