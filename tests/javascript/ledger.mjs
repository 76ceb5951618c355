// Uses the ledger as a dapp in JavaScript does, with DFINITY's own packages: transfers, approves, takes, reads
// allowances, blocks and what the ledger says of itself. Ends with exit code 0 if everything is as it should be.
//
// node ledger.mjs URL LEDGER ALICE BOB      the keys are 32 secret bytes in hexadecimal; Alice has tokens

import assert from "node:assert/strict";
import {
  IcrcLedgerCanister,
  IcrcTransferError,
  IndexPrincipalNotSetError,
  UnsupportedCanisterCallError,
  mapTokenMetadata,
} from "@icp-sdk/canisters/ledger/icrc";
import { Actor, HttpAgent } from "@icp-sdk/core/agent";
import { IDL } from "@icp-sdk/core/candid";
import { Ed25519KeyIdentity } from "@icp-sdk/core/identity";
import { Principal } from "@icp-sdk/core/principal";

const [host, ledgerId, ...keys] = process.argv.slice(2);
const canisterId = Principal.fromText(ledgerId);
const [alice, bob] = keys.map((key) => Ed25519KeyIdentity.generate(Uint8Array.from(Buffer.from(key, "hex"))));

// The network is not the Internet Computer, so its root key has to be asked for; every answer is checked with it.
const agentOf = (identity) => HttpAgent.create({ host, identity, shouldFetchRootKey: true });
const ledgerOf = async (identity) => IcrcLedgerCanister.create({ agent: await agentOf(identity), canisterId });

const account = (identity, subaccount) => ({
  owner: identity.getPrincipal(),
  subaccount: subaccount === undefined ? [] : [new Uint8Array(32).fill(subaccount)],
});
const nothing = { allowance: 0n, expires_at: [] };

const alices = await ledgerOf(alice);
const bobs = await ledgerOf(bob);
const balance = (identity, certified = false) => alices.balance({ owner: identity.getPrincipal(), certified });

async function refused(call, kind) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof IcrcTransferError, `${error}`);
    assert.ok(kind in error.errorType, JSON.stringify(Object.keys(error.errorType)));
    return true;
  });
}

// What the ledger says of itself.
const token = mapTokenMetadata(await alices.metadata({ certified: true }));
const fee = await alices.transactionFee({});
assert.deepEqual({ ...token, icon: undefined }, { name: "EMC", symbol: "EMC", decimals: 8, fee, icon: undefined });
const standards = (await alices.icrc1SupportedStandards({})).map(({ name }) => name);
for (const name of ["ICRC-1", "ICRC-2", "ICRC-3", "ICRC-10", "ICRC-21", "ICRC-103", "ICRC-106"]) {
  assert.ok(standards.includes(name), name);
}
assert.deepEqual(await alices.icrc10SupportedStandards({}), await alices.icrc1SupportedStandards({}));
const minter = (await alices.getMintingAccount({}))[0];
assert.ok(minter.owner instanceof Principal);
const supply = await alices.totalTokensSupply({});

// A transfer, done once however often it is sent.
const before = await balance(alice, true);
const transfer = {
  to: account(bob),
  amount: 1_000_000n,
  fee,
  memo: new Uint8Array([1, 2, 3]),
  created_at_time: BigInt(Date.now()) * 1_000_000n,
};
const sent = await alices.transfer(transfer);
await refused(alices.transfer(transfer), "Duplicate");
assert.equal(await balance(alice), before - 1_000_000n - fee);
assert.equal(await balance(bob), 1_000_000n);
await refused(alices.transfer({ ...transfer, fee: fee + 1n }), "BadFee");
await refused(bobs.transfer({ to: account(alice), amount: 1_000_001n }), "InsufficientFunds");

// An approval, what it lets Bob take, and no more.
const spending = { account: account(alice), spender: account(bob) };
assert.deepEqual(await alices.allowance(spending), nothing);
const expires_at = (BigInt(Date.now()) + 3_600_000n) * 1_000_000n;
const approved = await alices.approve({ spender: account(bob), amount: 500_000n, expected_allowance: 0n, expires_at });
assert.deepEqual(await alices.allowance(spending), { allowance: 500_000n, expires_at: [expires_at] });
await refused(alices.approve({ spender: account(bob), amount: 1n, expected_allowance: 7n }), "AllowanceChanged");

// The same allowance in Alice's list, for which the package has no call.
const accountType = IDL.Record({ owner: IDL.Principal, subaccount: IDL.Opt(IDL.Vec(IDL.Nat8)) });
const listed = IDL.Record({
  from_account: accountType,
  to_spender: accountType,
  allowance: IDL.Nat,
  expires_at: IDL.Opt(IDL.Nat64),
});
const asked = IDL.Record({
  from_account: IDL.Opt(accountType),
  prev_spender: IDL.Opt(accountType),
  take: IDL.Opt(IDL.Nat),
});
const answered = IDL.Variant({ Ok: IDL.Vec(listed), Err: IDL.Reserved });
const lists = Actor.createActor(() => IDL.Service({ icrc103_get_allowances: IDL.Func([asked], [answered], ["query"]) }), {
  agent: await agentOf(alice),
  canisterId,
});
const { Ok: list } = await lists.icrc103_get_allowances({ from_account: [], prev_spender: [], take: [] });
assert.equal(list.length, 1);
assert.equal(list[0].to_spender.owner.toText(), bob.getPrincipal().toText());
assert.deepEqual([list[0].allowance, list[0].expires_at], [500_000n, [expires_at]]);

const taken = await bobs.transferFrom({ from: account(alice), to: account(bob, 9), amount: 200_000n });
assert.equal(await bobs.balance({ owner: bob.getPrincipal(), subaccount: account(bob, 9).subaccount[0] }), 200_000n);
assert.equal((await bobs.allowance(spending)).allowance, 300_000n - fee);
await refused(bobs.transferFrom({ from: account(alice), to: account(bob), amount: 300_000n }), "InsufficientAllowance");
const revoked = await alices.approve({ spender: account(bob), amount: 0n });
assert.deepEqual(await alices.allowance(spending), nothing);

// Two transfers, two approvals, four fees: all of it burned.
assert.equal(await alices.totalTokensSupply({}), supply - 4n * fee);

// The blocks of all that.
const { blocks, log_length, archived_blocks } = await alices.getBlocks({ args: [{ start: sent, length: 100n }] });
assert.equal(archived_blocks.length, 0);
assert.equal(log_length, revoked + 1n);
assert.deepEqual(blocks.map(({ id }) => id), [sent, approved, taken, revoked]);
const field = (value, name) => value.Map.find(([key]) => key === name)?.[1];
const operations = blocks.map(({ block }) => field(field(block, "tx"), "op").Text);
assert.deepEqual(operations, ["xfer", "approve", "xfer", "approve"]);
const first = field(blocks[0].block, "tx");
assert.deepEqual(Uint8Array.from(field(first, "memo").Blob), transfer.memo);
assert.equal(field(first, "amt").Nat, 1_000_000n);
assert.equal(field(first, "ts").Nat, transfer.created_at_time);
const spender = field(field(blocks[2].block, "tx"), "spender").Array[0].Blob;
assert.deepEqual(Uint8Array.from(spender), bob.getPrincipal().toUint8Array());

// What a wallet shows before Alice signs.
const transferType = IDL.Record({
  to: accountType,
  fee: IDL.Opt(IDL.Nat),
  memo: IDL.Opt(IDL.Vec(IDL.Nat8)),
  from_subaccount: IDL.Opt(IDL.Vec(IDL.Nat8)),
  created_at_time: IDL.Opt(IDL.Nat64),
  amount: IDL.Nat,
});
const arg = IDL.encode(
  [transferType],
  [{ to: account(bob), fee: [], memo: [], from_subaccount: [], created_at_time: [], amount: 150_000_000n }],
);
const shown = (method, deriveSpec) =>
  alices.consentMessage({ method, arg, userPreferences: { metadata: { language: "en" }, deriveSpec } });
const { consent_message: text } = await shown("icrc1_transfer", { GenericDisplay: null });
for (const line of ["# Send EMC", "**Amount:** `1.5 EMC`", `\`${bob.getPrincipal().toText()}\``]) {
  assert.ok(text.GenericDisplayMessage.includes(line), text.GenericDisplayMessage);
}
const { consent_message: fields } = await shown("icrc1_transfer", { FieldsDisplay: null });
assert.equal(fields.FieldsDisplayMessage.intent, "Send EMC");
const amount = fields.FieldsDisplayMessage.fields.find(([name]) => name === "Amount")[1];
assert.deepEqual(amount, { TokenAmount: { decimals: 8, amount: 150_000_000n, symbol: "EMC" } });
await assert.rejects(shown("icrc1_burn_all", undefined), UnsupportedCanisterCallError);

// Nobody has named an index canister.
await assert.rejects(alices.getIndexPrincipal({}), IndexPrincipalNotSetError);

console.log(JSON.stringify({ last: revoked.toString(), alice: (await balance(alice)).toString() }));
