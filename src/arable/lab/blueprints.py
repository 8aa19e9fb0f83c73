"""The blueprints of a lab, which really run: of the tiny guest, whose whole content is what its user-data writes.

They know each other by names that the farm's routers answer, and say what they can where a tier is not there: `web` shows
itself and what the tier `app` says, `app` asks the tier `db`, and `balancer` passes on what the tier `web` says. `cache` keeps
what the tier `origin` said of a name once (`/?name`), which may be in another region. All
answer at 8080, so that nobody is led to one before its user-data is through, and are looked at by a file: a page that
calls others would say that they are ill.
"""

from arable.wire.blueprints import BlueprintIn, DiskPartIn, ElementCheckIn, KeepsIn, PortPartIn

DISKS = "any-size"
"""The disk offering that `db` takes."""
PORT = 8080
_PORTS = (PortPartIn(port=PORT, protocol="http"),)
_CHECK = ElementCheckIn(kind="http", path="/ok", interval=1, timeout=5, rise=1)

_PAGE = """#!/bin/sh
mkdir -p /srv/cgi-bin
cat > /srv/cgi-bin/index.cgi << 'END'
#!/bin/sh
printf 'Content-Type: text/plain\\r\\nCache-Control: no-store\\r\\n\\r\\n'
%s
END
chmod 755 /srv/cgi-bin/*
echo well > /srv/ok
httpd -p 8080 -h /srv
"""
_HELLO = 'echo "{{tier.name}} {{element.number}} of {{farm.name}}"'
# The guest's wget has no usable time-out of its own: Debian's busybox crashes with -T.
_ASK = "timeout %s wget -q -O - %shttp://%s.{{farm.name}}.internal:8080%s 2> /dev/null"

_DB = """#!/bin/sh
# The volume may come from an element before this one: what is on it stays.
until [ -b /dev/sda ]; do sleep 1; done
[ -n "$(blkid /dev/sda)" ] || mke2fs /dev/sda > /dev/null
mkdir -p /data /srv/cgi-bin
mount -t ext2 -o sync /dev/sda /data
rmdir /data/busy 2> /dev/null
cat > /srv/cgi-bin/index.cgi << 'END'
#!/bin/sh
printf 'Content-Type: text/plain\\r\\nCache-Control: no-store\\r\\n\\r\\n'
echo "{{tier.name}} {{element.number}} of {{farm.name}}"
END
cat > /srv/cgi-bin/count << 'END'
#!/bin/sh
printf 'Content-Type: text/plain\\r\\nCache-Control: no-store\\r\\n\\r\\n'
[ "$HTTP_COOKIE" = "password={{secret.db-password}}" ] || { echo "who are you?"; exit; }
until mkdir /data/busy 2> /dev/null; do sleep 1; done
count=0
[ ! -e /data/count ] || read -r count < /data/count
echo $((count + 1)) > /data/count.new
mv /data/count.new /data/count
rmdir /data/busy
echo "count=$((count + 1))"
END
chmod 755 /srv/cgi-bin/*
echo well > /srv/ok
httpd -p 8080 -h /srv
"""


_CACHE = """#!/bin/sh
mkdir -p /srv/cgi-bin /kept
cat > /srv/cgi-bin/index.cgi << 'END'
#!/bin/sh
name=index-$(echo "$QUERY_STRING" | tr -cd 'a-z0-9-')
kept=/kept/$name
from=kept
if [ ! -s "$kept" ]; then
  from=fetched
  timeout 20 wget -q -O "$kept.$$" "http://origin.{{farm.name}}.internal:8080/?$name" 2> /dev/null && mv "$kept.$$" "$kept"
  rm -f "$kept.$$"
fi
if [ -s "$kept" ]; then
  printf 'Content-Type: text/plain\\r\\nX-Cache: %s\\r\\n\\r\\n' "$from"
  cat "$kept"
else
  printf 'Status: 502 Bad Gateway\\r\\nContent-Type: text/plain\\r\\n\\r\\n'
  echo "the origin can't be reached"
fi
END
chmod 755 /srv/cgi-bin/*
echo well > /srv/ok
httpd -p 8080 -h /srv
"""


def _page(name: str, *lines: str) -> BlueprintIn:
    return BlueprintIn(
        name=name,
        public=True,
        image="tiny",
        offering="tiny",
        user_data=_PAGE % "\n".join(lines),
        ports=_PORTS,
        check=_CHECK,
        control=("read",) if name == "web" else False,
        drain_seconds=10,
    )


BLUEPRINTS = (
    _page("web", _HELLO, _ASK % (20, "", "app", "/")),
    _page(
        "app",
        _HELLO,
        _ASK % (10, '--header "Cookie: password={{secret.db-password}}" ', "db", "/cgi-bin/count"),
    ),
    BlueprintIn(
        name="db",
        public=True,
        image="tiny",
        offering="tiny",
        user_data=_DB,
        disks=(DiskPartIn(name="data", offering=DISKS, mib=16),),
        ports=_PORTS,
        check=_CHECK,
        keeps=KeepsIn(volumes=True),
        drain_seconds=10,
    ),
    _page("balancer", _ASK % (30, "", "web", "/")),
    BlueprintIn(
        name="cache",
        public=True,
        image="tiny",
        offering="tiny",
        user_data=_CACHE,
        ports=_PORTS,
        check=_CHECK,
        drain_seconds=10,
    ),
)
