package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Everybody who reaches the address may read, as with /metrics. Changing anything takes the token. Where
// none is set, it takes a connection from this machine that shows no sign of having been sent by somebody
// else's page or passed on by a proxy. What a proxy says of where a request comes from is believed only where
// the options name the proxy, and makes nobody one of this machine.

// refusal says why a request is not carried out.
type refusal struct {
	status int
	text   string
	after  time.Duration // when it may be tried again; 0 where that would not help
}

// client returns the address at the other end of the connection.
func client(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // the zero address is no loopback address
	}
	return at.Addr().Unmap()
}

// trusts reports whether an address is that of a proxy that the options name.
func (s *Server) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(s.options.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// forwardedFor is the header in which proxies add the address that a request came to them from.
const forwardedFor = "X-Forwarded-For"

// source returns where a request comes from, so that clients are told apart: the address at the other end of
// the connection or, where that is a trusted proxy, the one that the proxy says. Each proxy adds one at the
// end, so what stands before the first that is not trusted may be invented.
func (s *Server) source(r *http.Request) netip.Addr {
	from := client(r)
	hops := strings.Split(strings.Join(r.Header.Values(forwardedFor), ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !s.trusts(from) {
			break
		}
		before, ok := parseHop(hop)
		if !ok {
			break
		}
		from = before
	}
	return from
}

// parseHop reads an address of X-Forwarded-For, to which some proxies add the port.
func parseHop(text string) (a netip.Addr, ok bool) {
	text = strings.TrimSpace(text)
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at.Addr().Unmap(), true
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	return a.Unmap(), err == nil
}

// mayRead says why a request may not even read; it returns nil where it may.
func (s *Server) mayRead(r *http.Request) *refusal {
	if s.isLed(r) && !localHost(r.Host) {
		return &refusal{status: http.StatusForbidden, text: fmt.Sprintf(
			"the service was asked under the name %q: without ZIGATE_OTA_HTTP_TOKEN it answers on this "+
				"machine only under localhost or an IP address", r.Host)}
	}
	return nil
}

// mayWatch is mayRead for what supervisors and Prometheus read, which may name this machine as others do.
func (s *Server) mayWatch(r *http.Request) *refusal {
	if s.isLed(r) && !localHost(r.Host) && !slices.Contains(s.options.Names, hostOf(r.Host)) {
		return &refusal{status: http.StatusForbidden, text: fmt.Sprintf(
			"the service was asked under the name %q: without ZIGATE_OTA_HTTP_TOKEN it tells metrics and "+
				"readiness on this machine only under localhost, an IP address or the machine's own name",
			r.Host)}
	}
	return nil
}

// isLed reports whether a request has to show that no page of somebody else has sent it, whose name was made
// to lead to this machine (DNS rebinding) and which has all rights of this machine then.
func (s *Server) isLed(r *http.Request) bool {
	from := client(r)
	passedOn := s.trusts(from) && r.Header.Get(forwardedFor) != ""
	return s.options.Token == "" && from.IsLoopback() && !passedOn
}

// mayChange says why a request may not change anything; it returns nil where it may.
func (s *Server) mayChange(r *http.Request) *refusal {
	if no := s.mayRead(r); no != nil {
		return no
	}
	if !sameOrigin(r) {
		return &refusal{status: http.StatusForbidden, text: fmt.Sprintf(
			"the request comes from a page of another origin (%q), which may change nothing here; "+
				"behind a proxy, let it pass on the Host header", r.Header.Get("Origin"))}
	}

	if s.options.Token == "" {
		return s.localOnly(r)
	}
	from := s.source(r)
	now := time.Now()
	if wait := s.wrongTokens.blocked(from, now); wait > 0 {
		return &refusal{
			status: http.StatusTooManyRequests,
			text:   "too many wrong tokens came from " + from.String() + "; wait a little",
			after:  wait,
		}
	}

	given, ok := bearer(r)
	if !ok {
		return &refusal{
			status: http.StatusUnauthorized,
			text: "changing anything needs the token that ZIGATE_OTA_HTTP_TOKEN was set to, " +
				"as the header \"Authorization: Bearer <token>\"",
		}
	}

	// The digests have one length, so that the comparison takes the same time whatever is given.
	want := sha256.Sum256([]byte(s.options.Token))
	got := sha256.Sum256([]byte(given))
	if subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		s.wrongTokens.wait(from, now)
		return &refusal{
			status: http.StatusUnauthorized,
			text:   "the token is not the one that ZIGATE_OTA_HTTP_TOKEN was set to",
		}
	}
	return nil
}

// localOnly says why a request does not count as one from this machine; it returns nil where it does.
func (s *Server) localOnly(r *http.Request) *refusal {
	if s.trusts(client(r)) {
		return &refusal{
			status: http.StatusForbidden,
			text: "the request comes from a proxy (ZIGATE_OTA_HTTP_TRUSTED_PROXIES), which is never taken " +
				"for this machine; to take changes from there, set ZIGATE_OTA_HTTP_TOKEN",
		}
	}
	if !client(r).IsLoopback() {
		return &refusal{
			status: http.StatusForbidden,
			text: "changes are only taken from the machine that the service runs on; " +
				"to make them from elsewhere, set ZIGATE_OTA_HTTP_TOKEN",
		}
	}
	for header, values := range r.Header {
		// A proxy may add its own line to an empty one of the client's, so looking at the first is not
		// enough.
		if ofProxy(header) && slices.ContainsFunc(values, func(value string) bool { return value != "" }) {
			return &refusal{
				status: http.StatusForbidden,
				text: "the request was passed on by a proxy (it has the header " + header +
					"); to take changes from there, set ZIGATE_OTA_HTTP_TOKEN",
			}
		}
	}
	return nil
}

// ofProxy reports whether a header, as it is spelt in an http.Header, is one that proxies add.
func ofProxy(header string) bool {
	return header == "Forwarded" || header == "Via" || header == "X-Real-Ip" ||
		strings.HasPrefix(header, "X-Forwarded-")
}

// localHost reports whether a Host header is an IP address, which no foreign page can have as its
// name, or localhost.
func localHost(hostPort string) bool {
	host := hostOf(hostPort)
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// hostOf returns the host of a Host header in lower case, without port, brackets and final dot.
func hostOf(hostPort string) string {
	host := hostPort
	if h, _, err := net.SplitHostPort(hostPort); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// sameOrigin reports whether a request comes from a page of ours, or from no page at all.
func sameOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return false
	}
	for _, origin := range r.Header.Values("Origin") {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || !strings.EqualFold(u.Host, r.Host) {
			return false
		}
	}
	return true
}

// bearer returns the token that a request carries.
func bearer(r *http.Request) (token string, ok bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	return token, strings.EqualFold(scheme, "Bearer") && token != ""
}

// reading lets requests through that may read and do not come too often.
func (s *Server) reading(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		no := s.mayRead(r)
		if no == nil {
			no = s.tooOften(s.reads, r)
		}
		if no != nil {
			refuse(w, no)
			return
		}
		next(w, r)
	}
}

// changing lets requests through that may change something and do not come too often.
func (s *Server) changing(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		no := s.mayChange(r)
		if no == nil {
			no = s.tooOften(s.changes, r)
		}
		if no != nil {
			refuse(w, no)
			return
		}
		next(w, r)
	}
}

// watching lets requests through that may watch.
func (s *Server) watching(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if no := s.mayWatch(r); no != nil {
			refuse(w, no)
			return
		}
		next(w, r)
	}
}

func (s *Server) tooOften(l *limiter, r *http.Request) *refusal {
	if wait := l.wait(s.source(r), time.Now()); wait > 0 {
		return &refusal{
			status: http.StatusTooManyRequests,
			text:   "too many requests came from this address; wait a little",
			after:  wait,
		}
	}
	return nil
}

// refuse answers why a request is not carried out.
func refuse(w http.ResponseWriter, no *refusal) {
	if no.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="zigate-ota"`)
	}
	if no.after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(no.after.Seconds()))))
	}
	answerJSON(w, no.status, errorBody{Error: no.text})
}
