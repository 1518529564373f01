#!/bin/sh
# A CAPTCHA for tests: what begins like a picture (PNG) and has the answer in it.
printf '\211PNG\r\n\032\nanswer=%s\n' "$1"
