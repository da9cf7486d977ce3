package share

import "bytes"

// A browser sends what any web page wants to any port, those of its own machine included, and a dongle takes
// bytes for noise until a frame begins. So a page could command the Zigbee network of the person who looks at
// it. But every page's connection begins with an HTTP request, which no Zigbee software sends.

// longestMethod is how many bytes at the begin of a connection have to be looked at.
const longestMethod = len("OPTIONS ")

// isHTTP reports whether a connection begins with an HTTP method that a page can use.
func isHTTP(begin []byte) bool {
	for _, method := range [...]string{"GET ", "POST ", "PUT ", "HEAD ", "OPTIONS ", "DELETE ", "PATCH "} {
		if bytes.HasPrefix(begin, []byte(method)) {
			return true
		}
	}
	return false
}

// turnAwayBrowser reports a client that speaks HTTP. It is called by the goroutine that reads from the
// client.
func (h *Hub) turnAwayBrowser(c *client) {
	h.log.Warn("a web browser, or another program that speaks HTTP, was turned away from the shared "+
		"dongle: a page may have tried to command it", "client", c.name)
	h.opts.Observer.ShareReport(ReportTurnedAway)
}
