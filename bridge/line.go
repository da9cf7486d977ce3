package bridge

import "sync"

// line has requests carried out in the order in which they came, though some of them have to be on the disk
// first: a cancel must not overtake the upgrade that it is for. It does not know what they are. Its methods
// may be called by any goroutine.
type line struct {
	mu    sync.Mutex
	turns []*turn
}

// turn is the place of one request in the line.
type turn struct {
	line  *line
	run   func()
	ready bool
}

// enter takes a place at the end.
func (l *line) enter(run func()) *turn {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &turn{line: l, run: run}
	l.turns = append(l.turns, t)
	return t
}

// come says that the request can be carried out, which is done once all before it can be. run must not block.
func (t *turn) come() {
	l := t.line
	l.mu.Lock()
	defer l.mu.Unlock()
	t.ready = true
	for len(l.turns) > 0 && l.turns[0].ready {
		first := l.turns[0]
		l.turns = l.turns[1:]
		first.run()
	}
}

// leave says that the request is not to be carried out. Its place is given up when it comes.
func (t *turn) leave() {
	t.line.mu.Lock()
	defer t.line.mu.Unlock()
	t.run = func() {}
}
