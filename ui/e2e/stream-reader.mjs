// Listens to a server's event stream beside the page, to know what the page should have shown.

/** The sequences of all posts that a server has sent since `open`. */
export class StreamReader {
  /** @type {number[]} */
  ids = [];
  #abort = new AbortController();

  /**
   * @param {string} url the server's address
   */
  static async open(url) {
    const reader = new StreamReader();
    const response = await fetch(new URL('api/stream?backfill=0', url), { signal: reader.#abort.signal });
    if (!response.ok || response.body === null) {
      throw new Error(`the stream answers with ${response.status}`);
    }
    reader.#read(response.body).catch((error) => {
      if (!reader.#abort.signal.aborted) {
        throw error;
      }
    });
    return reader;
  }

  /**
   * Waits until a post with this sequence or a later one has come.
   * @param {number} id
   */
  async reached(id) {
    while ((this.ids.at(-1) ?? -1) < id) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  close() {
    this.#abort.abort();
  }

  /** @param {ReadableStream<Uint8Array>} body */
  async #read(body) {
    const decoder = new TextDecoder();
    let rest = '';
    for await (const piece of body) {
      const lines = (rest + decoder.decode(piece, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const id = /^id: ?(\d+)\r?$/.exec(line)?.[1];
        if (id !== undefined) {
          this.ids.push(Number(id));
        }
      }
    }
  }
}
