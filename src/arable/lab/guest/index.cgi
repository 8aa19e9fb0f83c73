#!/bin/sh
# The page on port 80: who answers, at which addresses, and where it learned its name.
printf 'Content-Type: text/plain\r\nCache-Control: no-store\r\n\r\n'
read -r name < /proc/sys/kernel/hostname
echo "hostname=$name"
for file in /run/arable/ip/*; do
    [ -e "$file" ] || continue
    read -r ip < "$file"
    echo "ip=$ip"
done
read -r datasource < /run/arable/datasource
echo "datasource=$datasource"
