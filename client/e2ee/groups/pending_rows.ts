/**
 * Commits on their way to the server. One is written with the group that waits for it and before it leaves, so that after a
 * crash the same bytes go out again under the same id. Table `mls_pending`.
 */
import { decode, encode } from "../../../shared/codec/mod.ts";
import {
  type ConversationId,
  type Request,
  request as requestSchema,
  type RequestOf,
} from "../../../shared/protocol/mod.ts";
import type { Database } from "../../home/database.ts";
import type { Vault } from "../../home/vault.ts";

export class PendingRows {
  constructor(private readonly db: Database, private readonly vault: Vault) {}

  load(id: ConversationId): RequestOf<"commit"> | undefined {
    const row = this.db.get("SELECT request FROM mls_pending WHERE conversation = ?", id);
    if (row === undefined) return undefined;
    const request: Request = decode(requestSchema, this.vault.open(row["request"] as Uint8Array, context(id)));
    return request.type === "commit" ? request : undefined;
  }

  /** Inside the caller's transaction. */
  write(id: ConversationId, request: RequestOf<"commit">): void {
    this.db.run(
      "INSERT OR REPLACE INTO mls_pending (conversation, request) VALUES (?, ?)",
      id,
      this.vault.seal(encode(requestSchema, request), context(id)),
    );
  }

  drop(id: ConversationId): void {
    this.db.run("DELETE FROM mls_pending WHERE conversation = ?", id);
  }

  all(): ConversationId[] {
    return this.db.all("SELECT conversation FROM mls_pending").map((row) => row["conversation"] as ConversationId);
  }
}

function context(id: ConversationId): string {
  return `mls_pending.request ${id}`;
}
