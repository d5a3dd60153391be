#!/bin/sh
# Draw the token of the Ray cluster and the password of the study's database, for compose.yaml; what is there already stays.
set -eu
umask 077
folder=${1:-"$(dirname "$0")/secrets"}
mkdir -p "$folder"
draw() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
[ -s "$folder/ray_token" ] || draw >"$folder/ray_token"
[ -s "$folder/database_password" ] || draw >"$folder/database_password"
# What clients of PostgreSQL read; it must be theirs alone, too.
printf 'postgresql:5432:mrisynth:mrisynth:%s\n' "$(cat "$folder/database_password")" >"$folder/pgpass"
chmod 600 "$folder/ray_token" "$folder/database_password" "$folder/pgpass"
echo "$folder: ray_token, database_password, pgpass"
