# The OMEMO benchmark of python-omemo: its backends, each session loaded and
# stored for each message, as its SessionManager does it.
import asyncio
import os
import time

import oldmemo
import twomemo
from oldmemo import oldmemo as old
from twomemo import twomemo as two
from omemo.storage import Just, Nothing, Storage

N = int(os.environ["XB_N"])


class Memory(Storage):
    def __init__(self):
        super().__init__()
        self.kept = {}

    async def _load(self, key):
        return Just(self.kept[key]) if key in self.kept else Nothing()

    async def _store(self, key, value):
        self.kept[key] = value

    async def _delete(self, key):
        self.kept.pop(key, None)


async def timed(name, n, step):
    t = time.process_time()
    for i in range(n):
        await step(i)
    print("RESULT %s %d %.9f" % (name, n, time.process_time() - t))


async def main():
    for version, mod, backend in ((1, old, oldmemo.Oldmemo), (2, two, twomemo.Twomemo)):
        a, b = backend(Memory()), backend(Memory())
        if version == 1:
            plain = mod.PlainKeyMaterialImpl(b"\7" * 16, b"\7" * 16)
        else:
            plain = mod.PlainKeyMaterialImpl(b"\7" * 32, b"\7" * 16)
        await b.generate_pre_keys(1)
        bundle = await b.get_bundle("b@localhost", 22)
        sent = [None] * N

        def same(got):
            assert got.key == plain.key and got.auth_tag == plain.auth_tag

        async def begin(i):
            s, m = await a.build_session_active("b@localhost", 22, bundle, plain)
            sent[i] = s.key_exchange.serialize(m.serialize())
            await a.store_session(s)

        async def accept(i):
            # In version 1 the sign of the identity key comes beside it.
            kex, inner = mod.KeyExchangeImpl.parse(*sent[i]) if version == 1 else mod.KeyExchangeImpl.parse(sent[i])
            m = mod.EncryptedKeyMaterialImpl.parse(inner, "a@localhost", 11)
            s, got = await b.build_session_passive("a@localhost", 11, kex, m)
            same(got)
            await b.store_session(s)

        async def encrypt(x, jid, dev, i):
            s = await x.load_session(jid, dev)
            sent[i] = (await x.encrypt_key_material(s, plain)).serialize()
            await x.store_session(s)

        async def decrypt(x, jid, dev, i):
            s = await x.load_session(jid, dev)
            same(await x.decrypt_key_material(s, mod.EncryptedKeyMaterialImpl.parse(sent[i], jid, dev)))
            await x.store_session(s)

        await timed("O%db" % version, N // 10, begin)
        await timed("O%da" % version, N // 10, accept)
        # An answer, after which no message carries the key exchange any more.
        await encrypt(b, "a@localhost", 11, 0)
        await decrypt(a, "b@localhost", 22, 0)
        await timed("O%de" % version, N, lambda i: encrypt(a, "b@localhost", 22, i))
        await timed("O%dd" % version, N, lambda i: decrypt(b, "a@localhost", 11, i))


asyncio.run(main())
