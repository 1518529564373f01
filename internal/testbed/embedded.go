package testbed

// startEmbedded starts the server of package confabtest.
var startEmbedded func() (*Server, error)
