import assert from "node:assert/strict";
import { firstContactLine, FirstContacts } from "../../../client/faces/first_contacts.ts";

Deno.test("firstContactLine() names one, a few, and counts the rest", () => {
  assert.equal(firstContactLine(["bob"]), "* first contact with bob: unverified; /verify bob to be sure");
  assert.equal(
    firstContactLine(["bob", "carol", "dave", "eve"]),
    "* first contact with bob, carol, dave and eve: unverified; /verify NAME to be sure",
  );
  assert.equal(
    firstContactLine(["a", "b", "c", "d", "e", "f"]),
    "* first contact with a, b, c, d and 2 others: unverified; /verify NAME to be sure",
  );
});

Deno.test("FirstContacts.flush() tells everybody once, in one line", () => {
  const told: string[] = [], contacts = new FirstContacts((line) => told.push(line));
  contacts.flush();
  contacts.add("bob");
  contacts.add("carol");
  contacts.flush();
  contacts.flush();
  assert.deepEqual(told, [firstContactLine(["bob", "carol"])]);
});
