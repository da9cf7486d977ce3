package httpapi

import (
	"net/netip"
	"sync"
	"time"
)

// limiter bounds how often something may be done by each client: burst times at once, and then once
// every interval. Clients are told apart by address, those of IPv6 by their /64 network, of which
// everybody has many addresses.
type limiter struct {
	burst    int
	interval time.Duration

	mu      sync.Mutex
	clients map[netip.Addr]time.Time // when nothing will count against the client any more
}

// maxClients bounds what is remembered. When there are more, the clients that are free to go on are
// forgotten first.
const maxClients = 4096

func newLimiter(burst int, interval time.Duration) *limiter {
	return &limiter{burst: burst, interval: interval, clients: map[netip.Addr]time.Time{}}
}

// wait returns 0 and counts when the client may go on now, else how long it has to wait.
func (l *limiter) wait(client netip.Addr, now time.Time) time.Duration {
	return l.count(client, now, true)
}

// blocked is wait without counting.
func (l *limiter) blocked(client netip.Addr, now time.Time) time.Duration {
	return l.count(client, now, false)
}

func (l *limiter) count(client netip.Addr, now time.Time, counts bool) time.Duration {
	if client.Is6() {
		if network, err := client.WithZone("").Prefix(64); err == nil {
			client = network.Addr()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	debt := l.clients[client].Sub(now)
	if debt < 0 {
		debt = 0
	}
	if over := debt - time.Duration(l.burst-1)*l.interval; over > 0 {
		return over
	}
	if counts {
		if len(l.clients) >= maxClients {
			l.forget(now)
		}
		l.clients[client] = now.Add(debt + l.interval)
	}
	return 0
}

// forget halves the number of clients at least, so that it is seldom needed.
func (l *limiter) forget(now time.Time) {
	for client, until := range l.clients {
		if !until.After(now) {
			delete(l.clients, client)
		}
	}
	for client := range l.clients {
		if len(l.clients) < maxClients/2 {
			return
		}
		delete(l.clients, client)
	}
}
