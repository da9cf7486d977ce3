//go:build !unix

package statefile

// lock does nothing where files cannot be locked in this way.
func lock(string) (unlock func(), err error) { return func() {}, nil }
