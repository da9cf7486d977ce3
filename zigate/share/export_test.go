package share

import "io"

// Attach serves a client over a connection of the caller's until it ends, and closes it. name is for the log.
// It must be called while Run runs.
func (h *Hub) Attach(conn io.ReadWriteCloser, name string) {
	h.attach(newClient(conn, name, false))
}
