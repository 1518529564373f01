//go:build !race

package upload_test

const memoryFactor = 1
