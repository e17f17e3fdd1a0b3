import { isUtf8 } from "node:buffer";

const LF = 0x0a;

/** Cuts a stream into lines, none of them longer than may be at that moment. */
export class LineReader {
  #parts: Buffer[] = [];
  #bytes = 0;

  /** Calls `take` for each whole line; stops when that returns false. */
  push(chunk: Buffer, limit: () => number, take: (line: string) => boolean): "ok" | "too_long" | "not_utf8" | "stopped" {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(LF, start);
      const stop = end === -1 ? chunk.length : end;
      if (this.#bytes + (stop - start) > limit()) return "too_long";
      if (end === -1) {
        if (stop > start) {
          this.#parts.push(chunk.subarray(start));
          this.#bytes += stop - start;
        }
        return "ok";
      }
      let line = chunk.subarray(start, end);
      if (this.#parts.length > 0) {
        this.#parts.push(line);
        line = Buffer.concat(this.#parts);
        this.#parts = [];
        this.#bytes = 0;
      }
      start = end + 1;
      if (!isUtf8(line)) return "not_utf8";
      if (!take(line.toString("utf8"))) return "stopped";
    }
  }
}
