/** Looks into the homes of the end-to-end tests' people, as their own programs would. */
import { type HomeParts, openHome } from "../../client/home_parts.ts";
import { unlock } from "../../client/account/unlock.ts";
import { PASSWORD } from "./harness.ts";

/** Opens and unlocks a home, and closes it. */
export async function inHome<T>(home: string, use: (parts: HomeParts) => T | Promise<T>): Promise<T> {
  const parts = openHome(home);
  try {
    await unlock(parts.credentials, { password: PASSWORD });
    return await use(parts);
  } finally {
    parts.database.close();
  }
}
