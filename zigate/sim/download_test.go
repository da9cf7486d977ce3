package sim_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

func TestDownload(t *testing.T) {
	for _, firmware := range sim.Firmwares() {
		t.Run(firmware.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				file := image(newVersion, 10_000)
				l := newLab(t, sim.Config{
					Firmware: firmware, Speed: 1, LineRate: 11520, Devices: []sim.DeviceConfig{lampConfig()},
				}, file)
				defer l.stop()
				l.send(loadImage(file))
				l.send(notify(lampAddr))
				time.Sleep(5 * time.Minute)
				synctest.Wait()

				device := l.dongle.Device(lamp).Snapshot()
				if !bytes.Equal(device.Downloaded, file) || !bytes.Equal(device.Installed, file) {
					t.Errorf("the device has other bytes: %d downloaded, %d installed", len(device.Downloaded), len(device.Installed))
				}
				if device.FileVersion != newVersion || device.State != sim.Idle || device.Installs != 1 {
					t.Errorf("device: version %#x, %s, %d installs", device.FileVersion, device.State, device.Installs)
				}
				messages := l.take()
				ends := of[message.UpgradeEndRequest](messages)
				if len(ends) != 1 || ends[0].Status != message.OTASuccess || ends[0].FileVersion != newVersion {
					t.Errorf("upgrade end requests: %+v", ends)
				}
				if n := len(of[message.DeviceAnnounce](messages)); n != 1 {
					t.Errorf("%d announces", n)
				}
				stats := l.dongle.Stats()
				wanted := uint64((len(file) + 62) / 63)
				if stats.BlocksAsked != wanted || stats.BlocksAnswered != wanted || stats.BlocksRefused() != 0 {
					t.Errorf("%d blocks asked, %d answered, %d refused, %d wanted",
						stats.BlocksAsked, stats.BlocksAnswered, stats.BlocksRefused(), wanted)
				}
				if len(stats.Refused) > 0 {
					t.Errorf("refused commands: %v", stats.Refused)
				}
			})
		})
	}
}
