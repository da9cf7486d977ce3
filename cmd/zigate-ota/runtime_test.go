package main

import (
	"context"
	"runtime"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryIsReturned(t *testing.T) {
	const burst = 64 << 20
	unused := func() uint64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		go returnMemory(ctx)
		func() {
			held := make([]byte, burst)
			for i := range held {
				held[i] = 1
			}
			runtime.KeepAlive(held)
		}()
		runtime.GC()
		if n := unused(); n < burst/2 {
			t.Skipf("only %d bytes are unused after a burst of %d", n, burst)
		}
		time.Sleep(spareLooked + time.Second)
		synctest.Wait()
		if n := unused(); n > burst/4 {
			t.Errorf("%d bytes lie unused still", n)
		}
		stop()
	})
}
