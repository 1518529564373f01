package client

// onlyWebSocket is true where there are no other connections.
const onlyWebSocket = true
