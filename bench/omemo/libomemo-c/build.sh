#!/bin/sh
# The device in C is the one that the tests of omemo/ratchet talk with.
set -e
cd "$(dirname "$0")"
pkg-config --exists libomemo-c libcrypto || exit 77
cc -w -O2 -o client ../../../omemo/ratchet/testdata/peer.c $(pkg-config --cflags --libs libomemo-c) -lcrypto
