import asyncio, json, sys, time
from collections import defaultdict
from tests.live.servers import Ejabberd, NewerEjabberd, DOMAIN
from tests.live.rawcomponent import RawComponent
from tests.live.clients import Client, stanza, condition
from pathlib import Path
import tempfile
C=f"rooms.{DOMAIN}"
def make(base, balancing):
    class S(base):
        def configure(self):
            super().configure()
            p=self.directory/"ejabberd.yml"
            c=json.loads(p.read_text()); c["domain_balancing"]={C: balancing}
            p.write_text(json.dumps(c))
    S.__name__=base.__name__
    return S
async def spread(client, comps, rooms=24):
    for c in comps: c.received.clear()
    ids={}
    for k in range(rooms):
        for n in range(2):
            i=f"r{k}-{n}-{time.monotonic()}"
            ids[i]=k
            client.send(stanza("message","<body>x</body>",to=f"room{k}@{C}",type="groupchat",id=i))
    await asyncio.sleep(1)
    where=defaultdict(set)
    for name,c in enumerate(comps):
        for e in c.received:
            if e.get("id") in ids: where[ids[e.get("id")]].add(name)
    errs=[condition(e) for e in client.received if e.get("id") in ids and e.get("type")=="error"]
    return where, errs, rooms
def show(label, r):
    where, errs, rooms=r
    print(label, "rooms by connection:", {str(sorted(v)): sum(1 for x in where.values() if x==v) for v in map(frozenset,where.values())}, "nowhere:", rooms-len(where), "errors:", {e: errs.count(e) for e in set(errs)}, flush=True)
async def main(base):
    S=make(base, {"type":"bare_destination","component_number":3})
    s=S(Path(tempfile.mkdtemp(prefix="bal-")),["alice"],{C:"s3cret"})
    s.start(); await s.ready()
    try:
        a=await Client(s,"alice","x").login()
        comps=[]
        for n in range(3):
            comps.append(await RawComponent(s,C).connect())
            show(f"{n+1} connected", await spread(a,comps))
        w0=(await spread(a,comps))[0]
        await comps[1].close()
        r=await spread(a,[comps[0],comps[2]]); show("second closed", r)
        fourth=await RawComponent(s,C).connect()
        r=await spread(a,[comps[0],fourth,comps[2]]); show("a new one", r)
        print("same assignment as before:", all(r[0][k]==w0[k] for k in w0))
        # two die
        await comps[0].close(); await comps[2].close()
        show("two closed", await spread(a,[fourth]))
        fifth=await RawComponent(s,C).connect(); sixth=await RawComponent(s,C).connect()
        r=await spread(a,[fifth,fourth,sixth]); show("two new", r)
        print("in the order of the former:", all(r[0][k]==w0[k] for k in w0), {str((sorted(w0[k]),sorted(r[0][k]))) for k in w0})
        try:
            seventh=await RawComponent(s,C).connect()
            r=await spread(a,[fifth,fourth,sixth,seventh]); show("a fourth at the same time", r)
        except Exception as e: print("fourth at the same time:", repr(e))
        await asyncio.sleep(0.5)
    finally:
        print(s.log(15)[-1500:])
        s.remove()
asyncio.run(main({"23":Ejabberd,"26":NewerEjabberd}[sys.argv[1]]))
