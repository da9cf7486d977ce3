package sim_test

import (
	"context"
	"testing"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// BenchmarkBlock is one block: the device's request, the host's answer and all reports, without waiting.
func BenchmarkBlock(b *testing.B) {
	file := image(newVersion, 1<<20)
	cfg := lampConfig()
	cfg.InvalidAtEnd = true
	dongle := sim.New(sim.Config{Devices: []sim.DeviceConfig{cfg}})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- dongle.Run(ctx) }()
	port, err := dongle.Dialer("sim").Dial(ctx)
	if err != nil {
		b.Fatal(err)
	}
	header := loadImage(file)
	write := func(frame []byte) {
		if _, err := port.Write(frame); err != nil {
			b.Fatal(err)
		}
	}
	write(message.AppendFrame(nil, header.Type(), message.AppendPayload(nil, header)))
	start := message.AppendFrame(nil, message.TypeImageNotify, message.AppendPayload(nil, notify(lampAddr)))
	write(start)

	b.ReportAllocs()
	var (
		decoder message.Decoder
		request message.ImageBlockRequest
		reply   []byte
		buffer  = make([]byte, 4096)
	)
	blocks := 0
	b.ResetTimer()
	for blocks < b.N {
		n, err := port.Read(buffer)
		if err != nil {
			b.Fatal(err)
		}
		for in := buffer[:n]; len(in) > 0; {
			frame, rest, ok := decoder.Feed(in)
			in = rest
			switch {
			case !ok:
			case frame.Type == message.TypeUpgradeEndRequest:
				write(start)
			case frame.Type == message.TypeImageBlockRequest:
				if err := request.Parse(frame.Payload); err != nil {
					b.Fatal(err)
				}
				end := min(int(request.Offset)+int(request.MaxDataSize), len(file))
				reply = message.AppendImageBlockResponse(reply[:0], &message.ImageBlockResponse{
					Target: target(request.Addr), Sequence: request.Sequence, Offset: request.Offset,
					FileVersion: request.FileVersion, ImageType: request.ImageType, ManufacturerCode: request.ManufacturerCode,
					Data: file[request.Offset:end],
				})
				write(reply)
				blocks++
			}
		}
	}
	b.StopTimer()
	port.Close()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
