#!/bin/sh
/usr/bin/python3 -c 'import oldmemo, twomemo' 2>/dev/null || exit 77
