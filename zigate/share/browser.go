package share

import "bytes"

// A browser sends what the page of anybody wants to any port, those of its own machine included, and a dongle
// takes any bytes for noise until a frame begins: without more, a page could command the network of who looks
// at it. But no page can keep the browser from beginning with an HTTP request. No Zigbee software does.

// longestMethod is how many bytes of a connection's begin have to be looked at.
const longestMethod = len("OPTIONS ")

// isHTTP reports whether a connection begins with a method of HTTP that a page can have sent.
func isHTTP(begin []byte) bool {
	for _, method := range [...]string{"GET ", "POST ", "PUT ", "HEAD ", "OPTIONS ", "DELETE ", "PATCH "} {
		if bytes.HasPrefix(begin, []byte(method)) {
			return true
		}
	}
	return false
}

// turnAwayBrowser tells of a client that is none. It is called by the goroutine that reads from it.
func (h *Hub) turnAwayBrowser(c *client) {
	h.log.Warn("a web browser, or another program that speaks HTTP, was turned away from the shared "+
		"dongle: a page may have tried to command it", "client", c.name)
	h.observer.ShareReport(ReportTurnedAway)
}
