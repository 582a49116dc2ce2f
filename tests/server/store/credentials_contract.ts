/** What every store must do with changes of credentials (docs/PROTOCOL.md §17); part of contract.ts. */
import assert from "node:assert/strict";
import { CredentialWhat, type PasswordChange, type Store } from "../../../server/store/store.ts";
import { DEVICES_PER_USER_MAX } from "../../../shared/limits.ts";
import { bytesOf, deviceOf, nameOf, newDevice, newUser, type Told } from "./fixtures.ts";

type Test = (
  what: string,
  run: (store: Store, opened: { readonly told: Told; settle(): Promise<void> }) => Promise<void>,
) => void;

export function credentialsContract(test: Test): void {
  test("setRecovery() makes one key good and the one before void, and tells of it", async (store, opened) => {
    assert.equal(await store.credentials(ALICE), undefined);
    await store.createUser(newUser("alice"));
    assert.deepEqual(plain(await store.credentials(ALICE)), { recovery: undefined, password: undefined });
    await store.setRecovery(ALICE, recoveryOf("first", 10));
    await store.setRecovery(ALICE, recoveryOf("second", 20));
    // The very same again: the answer of a leader that died got lost.
    await store.setRecovery(ALICE, recoveryOf("second", 20));
    assert.deepEqual(plain((await store.credentials(ALICE))?.recovery), {
      proofHash: bytesOf("hash of second"),
      backup: bytesOf("seal of second"),
      madeMs: 20,
    });
    await assert.rejects(store.setRecovery(nameOf("nobody"), recoveryOf("first", 10)), RangeError);
    await opened.settle();
    const change = { what: CredentialWhat.RecoveryKey, device: deviceOf("alice") };
    assert.deepEqual(toldOf(opened.told), [
      { user: "alice", generation: 0, keep: undefined, change: { ...change, timeMs: 10 } },
      { user: "alice", generation: 0, keep: undefined, change: { ...change, timeMs: 20 } },
    ]);
  });

  test(
    "changePassword() changes all that belongs to a password, and no session where none is to end",
    async (store, opened) => {
      await store.createUser(newUser("alice"));
      await store.createUser(newUser("bob"));
      await session(store, "alice", 1);
      assert.equal(await store.changePassword(changeOf()), "changed");
      const account = (await store.account(ALICE))!;
      assert.deepEqual(plain(account.stretching), { salt: new Uint8Array(16).fill(9), log2N: 18 });
      assert.deepEqual(plain(account.passwordHash), bytesOf("new hash"));
      assert.deepEqual(plain(account.backup), bytesOf("new backup"));
      const change = { what: CredentialWhat.Password, device: deviceOf("alice"), timeMs: 50 };
      assert.deepEqual(plain((await store.credentials(ALICE))?.password), {
        serial: 1,
        statement: bytesOf("statement 1"),
        change,
      });
      assert.equal((await store.session(tokenOf(1), 0))?.generation, 0);
      assert.deepEqual((await store.account(nameOf("bob")))?.passwordHash, bytesOf("hash of bob"));
      await opened.settle();
      assert.deepEqual(toldOf(opened.told), [{ user: "alice", generation: 0, keep: undefined, change }]);
    },
  );

  test(
    "changePassword() ends the other sessions where it is asked to, and keeps the one that asks",
    async (store, opened) => {
      await store.createUser(newUser("alice"));
      await store.addDevice(ALICE, newDevice("alice", 2));
      await session(store, "alice", 1);
      await session(store, "alice", 2, 2);
      const change = changeOf({ endOthers: true, keep: tokenOf(1) });
      assert.equal(await store.changePassword(change), "changed");
      assert.equal((await store.session(tokenOf(1), 0))?.generation, 1);
      assert.equal(await store.session(tokenOf(2), 0), undefined);
      await opened.settle();
      assert.deepEqual(toldOf(opened.told), [{
        user: "alice",
        generation: 1,
        keep: tokenOf(1),
        change: { what: CredentialWhat.Password, device: deviceOf("alice"), timeMs: 50 },
      }]);
    },
  );

  test("changePassword() is stale where another one came between, and the very same again is fine", async (store) => {
    await store.createUser(newUser("alice"));
    assert.equal(await store.changePassword(changeOf()), "changed");
    assert.equal(await store.changePassword(changeOf()), "changed", "its answer got lost");
    const late = changeOf({ passwordHash: bytesOf("third hash"), serial: 2 });
    assert.equal(await store.changePassword(late), "stale", "judged by a password that is not the one now");
    const repeated = { ...late, expected: { passwordHash: bytesOf("new hash") }, serial: 1 };
    assert.equal(await store.changePassword(repeated), "stale", "a serial never comes twice");
    assert.deepEqual((await store.account(ALICE))?.passwordHash, bytesOf("new hash"));
    assert.equal(await store.changePassword({ ...repeated, serial: 2 }), "changed");
    await assert.rejects(store.changePassword({ ...changeOf(), name: nameOf("nobody") }), RangeError);
  });

  test("changePassword() by the recovery key enrols the device with it, or does nothing at all", async (store) => {
    await store.createUser(newUser("alice"));
    const recovered = changeOf({
      expected: { recoveryProofHash: bytesOf("hash of first") },
      device: deviceOf("alice", 2),
      newDevice: newDevice("alice", 2),
    });
    assert.equal(await store.changePassword(recovered), "stale", "there is no recovery key");
    await store.setRecovery(ALICE, recoveryOf("first", 10));
    const wrong = { ...recovered, expected: { recoveryProofHash: bytesOf("hash of another") } };
    assert.equal(await store.changePassword(wrong), "stale");
    assert.deepEqual((await store.account(ALICE))?.devices.map(({ id }) => id), [deviceOf("alice")]);
    assert.equal(await store.changePassword(recovered), "changed");
    assert.equal(await store.changePassword(recovered), "changed");
    const account = (await store.account(ALICE))!;
    assert.deepEqual(account.devices.map(({ id }) => id), [deviceOf("alice"), deviceOf("alice", 2)]);
    assert.deepEqual(plain(account.passwordHash), bytesOf("new hash"));
    const { recovery, password } = (await store.credentials(ALICE))!;
    assert.deepEqual(plain(recovery?.proofHash), bytesOf("hash of first"), "the recovery key stays good");
    assert.deepEqual(plain(password?.change), {
      what: CredentialWhat.Recovered,
      device: deviceOf("alice", 2),
      timeMs: 50,
    });
  });

  test("changePassword() that cannot enrol its device changes no password", async (store) => {
    await store.createUser(newUser("alice"));
    await store.createUser(newUser("bob"));
    await store.setRecovery(ALICE, recoveryOf("first", 10));
    const expected = { recoveryProofHash: bytesOf("hash of first") };
    const taken = changeOf({ expected, device: deviceOf("bob"), newDevice: newDevice("bob") });
    assert.equal(await store.changePassword(taken), "id-taken");
    for (let number = 2; number <= DEVICES_PER_USER_MAX; number++) {
      await store.addDevice(ALICE, newDevice("alice", number));
    }
    const one = changeOf({ expected, device: deviceOf("alice", 99), newDevice: newDevice("alice", 99) });
    assert.equal(await store.changePassword(one), "limit");
    assert.deepEqual((await store.account(ALICE))?.passwordHash, bytesOf("hash of alice"));
    assert.equal((await store.credentials(ALICE))?.password, undefined);
  });
}

function recoveryOf(what: string, nowMs: number) {
  return {
    proofHash: bytesOf(`hash of ${what}`),
    backup: bytesOf(`seal of ${what}`),
    device: deviceOf("alice"),
    nowMs,
  };
}

function changeOf(changes: Partial<PasswordChange> = {}): PasswordChange {
  return {
    name: ALICE,
    expected: { passwordHash: bytesOf("hash of alice") },
    stretching: { salt: new Uint8Array(16).fill(9), log2N: 18 },
    serial: 1,
    statement: bytesOf("statement 1"),
    passwordHash: bytesOf("new hash"),
    backup: bytesOf("new backup"),
    device: deviceOf("alice"),
    newDevice: undefined,
    endOthers: false,
    keep: undefined,
    nowMs: 50,
    ...changes,
  };
}

async function session(store: Store, name: string, token: number, device = 1): Promise<void> {
  const user = nameOf(name);
  await store.createSession({ tokenHash: tokenOf(token), user, device: deviceOf(name, device), expiresMs: 2_000 });
}

function tokenOf(byte: number): Uint8Array {
  return new Uint8Array(32).fill(byte);
}

/** What concerns credentials of what was told. */
function toldOf({ ended }: Told) {
  return plain(ended.map(({ user, generation, keep, change }) => ({ user, generation, keep, change })));
}

function plain<T>(value: T): T {
  return structuredClone(value);
}

const ALICE = nameOf("alice");
