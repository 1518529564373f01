//go:build race

package upload_test

// memoryFactor is how much more memory the race detector needs.
const memoryFactor = 16
