from e2e.belief_and_truth import believed, true, said
from e2e.conftest import *
import subprocess


def test_x(cloud, red, blue):
    for h in ("a1", "b1"):
        for argv in (
            ["ovs-vsctl", "--columns=name,tag,external_ids", "list", "Port"],
            ["ovs-vsctl", "get", "Port", "up0", "trunks"],
            ["virsh", "list", "--all", "--name"],
            ["ls", "/run/netns"],
            ["ss", "-lntupH"],
            ["find", "/run/arable", "-maxdepth", "3"],
        ):
            try:
                print(h, argv, said(cloud, h, *argv))
            except Exception as e:
                print(h, argv, repr(e), getattr(e, "detail", ""))
    for n in sorted(os.listdir("/run/netns")):
        if n.startswith(cloud.site.place.id):
            print(
                n,
                subprocess.run(
                    ["nsenter", "--net=/run/netns/" + n, "ss", "-lntupH"],
                    capture_output=True,
                    text=True,
                ).stdout,
            )
    print("believed", believed(cloud))
    print("true", true(cloud))
    subprocess.run(["ss", "-lntupH"])
    assert 0


import os
