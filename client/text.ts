/** What a message may be. Checked before anything else happens to it. */
import { TEXT_BYTES_MAX } from "../shared/limits.ts";
import { UsageError } from "./errors.ts";

/** @throws UsageError where the text is empty or NULs only (which go with no message), too long, or not representable in UTF-8. */
export function checkText(text: string): void {
  if (text.replaceAll("\0", "") === "") throw new UsageError("The text is empty");
  if (!text.isWellFormed()) throw new UsageError("The text is not valid Unicode (it has half a surrogate pair)");
  const bytes = new TextEncoder().encode(text).length;
  if (bytes > TEXT_BYTES_MAX) {
    throw new UsageError(`The text has ${bytes} bytes; a message holds at most ${TEXT_BYTES_MAX}`);
  }
}
