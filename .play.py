from arable.sim.replica_stories import REPLICAS
from arable.sim.breaks import play
import sys,traceback
for s in REPLICAS:
    try:
        print(s.name, len(play(s)))
    except Exception as e:
        print(s.name, type(e), str(e)[:1500])
        if "-v" in sys.argv: traceback.print_exc()
