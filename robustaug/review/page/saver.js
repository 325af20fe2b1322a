// Decisions on their way to the disk, in order: nothing is dropped while the server is away.

const PAUSE = 500; // ms between attempts

export class Saver {
  #waiting = [];
  #busy = false;
  #trouble = "";

  // told(count, trouble): how much is not saved yet, and why it is stuck, if it is.
  // refused(text, body): the server said that this will never do.
  constructor(manifest, told, refused) {
    Object.assign(this, { manifest, told, refused });
    addEventListener("beforeunload", (event) => this.#waiting.length && event.preventDefault());
  }

  // Sends a body to an address after everything before it; resolves to the answer, or to null if there is none.
  send(address, body = {}, { again = true } = {}) {
    return new Promise((resolve) => {
      this.#waiting.push({ address, body: { ...body, manifest: this.manifest }, again, resolve });
      this.told(this.#waiting.length, this.#trouble);
      this.#drain();
    });
  }

  async #drain() {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#waiting.length) {
      const first = this.#waiting[0];
      const { answer, trouble } = await post(first.address, first.body);
      this.#trouble = first.again ? trouble : "";
      if (this.#trouble) {
        this.told(this.#waiting.length, trouble);
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
        continue;
      }
      this.#waiting.shift();
      this.told(this.#waiting.length, "");
      if (answer?.ok) {
        first.resolve(await answer.json().catch(() => null));
      } else {
        this.refused(answer ? await answer.text() : trouble, first.body);
        first.resolve(null);
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
