package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/config"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/terminal"
	"github.com/zigate-ota/zigate-ota/zigate/message"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// demoUser does what a user would with mosquitto_pub and mosquitto_sub, and nothing else: it knows the
// service only over MQTT. In the end it compares what the simulated devices hold with their images.
type demoUser struct {
	base    string // the base topic of the service
	client  mqtt.Client
	cfg     config.Config
	home    *sim.Dongle
	devices []sim.DeviceConfig
	images  map[message.IEEE]demoImage
	url     func(name string) string
	screen  *terminal.Screen
	broker  []string
	page    string
}

// mqttMessage is one message that was received.
type mqttMessage struct {
	topic   string
	payload []byte
}

func (u *demoUser) run(ctx context.Context) error {
	base := u.base
	inbox := make(chan mqttMessage, 4096)
	client, err := u.connect(ctx, base, inbox)
	if err != nil {
		return err
	}
	defer client.Disconnect(250)
	u.client = client

	u.screen.Print(fmt.Sprintf("A simulated ZiGate with %d devices. MQTT: %s  topics: %s/#  page: %s/",
		len(u.devices), strings.Join(u.broker, ","), base, u.page))
	u.screen.Print(fmt.Sprintf("Look with: mosquitto_sub -h %s -v -t '%s/#'", hostAndPort(u.broker[0]), base))
	if err := u.awaitOnline(ctx, base, inbox); err != nil {
		return err
	}
	for _, d := range u.devices {
		u.bar(d.IEEE.String(), d.ModelID, 0, "waits", "")
		u.publish("add_image", map[string]any{
			"transaction": d.IEEE.String(), "deviceId": d.IEEE.String(), "url": u.url(u.images[d.IEEE].name),
		})
	}

	failed, err := u.awaitUpgrades(ctx, inbox)
	if err != nil {
		return err
	}
	failed = append(failed, unfinished(u.home, u.images)...)
	u.screen.Finish()
	if len(failed) > 0 {
		return errors.New(strings.Join(failed, "; "))
	}
	u.screen.Print(fmt.Sprintf("All %d devices run their new version, byte for byte.", len(u.devices)))
	return nil
}

// publish asks the service for an operation.
func (u *demoUser) publish(operation string, request map[string]any) {
	payload, _ := json.Marshal(request) // strings only
	u.screen.Print(fmt.Sprintf("> %s/request/%s %s", u.base, operation, payload))
	u.client.Publish(u.base+"/request/"+operation, 1, false, payload)
}

// awaitUpgrades requests the upgrade of each device as soon as its image is registered. It returns when all
// have ended, with what went wrong.
func (u *demoUser) awaitUpgrades(ctx context.Context, inbox <-chan mqttMessage) (failed []string, err error) {
	for open := len(u.devices); open > 0; {
		var m mqttMessage
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the demo did not end in time: %w", ctx.Err())
		case m = <-inbox:
		}
		ended, problem := u.take(strings.TrimPrefix(m.topic, u.base+"/"), m.payload)
		if ended {
			open--
		}
		if problem != "" {
			failed = append(failed, problem)
		}
	}
	return failed, nil
}

// take handles a message. It reports whether the message ends the upgrade of a device, and what went wrong
// with it.
func (u *demoUser) take(topic string, payload []byte) (ended bool, problem string) {
	event, isEvent := strings.CutPrefix(topic, "event/")
	switch {
	case topic == "response/add_image":
		r := u.response(topic, payload)
		switch r.Status {
		case contract.StatusInProgress:
			return false, ""
		case contract.StatusSuccess:
			u.publish("upgrade", map[string]any{"transaction": r.EUID, "deviceId": r.EUID})
			return false, ""
		default:
			return true, fmt.Sprintf("add_image for %s: %s: %s", r.Transaction, r.Status, r.Error)
		}
	case topic == "response/upgrade":
		r := u.response(topic, payload)
		switch r.Status {
		case contract.StatusInProgress:
			return false, ""
		case contract.StatusSuccess:
			return true, ""
		default:
			return true, fmt.Sprintf("upgrade of %s: %s: %s", r.Transaction, r.Reason, r.Error)
		}
	case isEvent && event != string(contract.EventDownloadProgress):
		u.screen.Print(fmt.Sprintf("< %s %s", topic, payload))
	case strings.HasPrefix(topic, "device/") && strings.Count(topic, "/") == 1:
		u.showDevice(payload)
	}
	return false, ""
}

// awaitOnline waits until the service has published that it is online.
func (u *demoUser) awaitOnline(ctx context.Context, base string, inbox <-chan mqttMessage) error {
	for {
		select {
		case m := <-inbox:
			if m.topic == base+"/status" && string(m.payload) == contract.Online {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("the service did not come online: %w", ctx.Err())
		}
	}
}

// response reads a response about a device and shows it.
func (u *demoUser) response(topic string, payload []byte) contract.Response {
	u.screen.Print(fmt.Sprintf("< %s %s", topic, payload))
	r := contract.Response{OperationRecord: &contract.OperationRecord{}}
	if err := json.Unmarshal(payload, &r); err != nil {
		u.screen.Print(fmt.Sprintf("a response cannot be read: %v", err))
	}
	return r
}

func (u *demoUser) showDevice(payload []byte) {
	var d contract.Device
	if json.Unmarshal(payload, &d) != nil || d.Upgrade == nil {
		return
	}
	text := ""
	if d.Upgrade.BytesPerSecond > 0 {
		text = fmt.Sprintf("%d B/s", d.Upgrade.BytesPerSecond)
	}
	if left := d.Upgrade.RemainingSeconds; left != nil && *left > 0 {
		text += fmt.Sprintf(", %d s left", *left)
	}
	model := ""
	if d.ModelID != nil {
		model = *d.ModelID
	}
	u.bar(string(d.EUID), model, float64(d.Upgrade.Progress), string(d.Upgrade.State), text)
}

// bar shows or moves the bar of a device.
func (u *demoUser) bar(euid, model string, progress float64, state, text string) {
	u.screen.Bar(euid, fmt.Sprintf("%s %-18.18s", euid, model), progress, state, text)
}

// connect subscribes to everything of the service and returns once the broker has confirmed it.
func (u *demoUser) connect(ctx context.Context, base string, inbox chan<- mqttMessage) (mqtt.Client, error) {
	o := mqtt.NewClientOptions().SetClientID(fmt.Sprintf("zigate-ota-demo-%d",
		time.Now().UnixNano()%1_000_000)).
		SetCleanSession(true).SetAutoReconnect(true).SetConnectTimeout(10 * time.Second)
	for _, url := range u.broker {
		o.AddBroker(url)
	}

	o.SetUsername(u.cfg.MQTT.Username.Reveal()).SetPassword(u.cfg.MQTT.Password.Reveal())
	if t, err := u.cfg.MQTT.TLS(); err != nil {
		return nil, err
	} else if t != nil {
		o.SetTLSConfig(t)
	}

	subscribed := make(chan error, 1)
	o.SetOnConnectHandler(func(c mqtt.Client) {
		token := c.Subscribe(base+"/#", 1, func(_ mqtt.Client, m mqtt.Message) {
			select {
			case inbox <- mqttMessage{topic: m.Topic(), payload: m.Payload()}:
			case <-ctx.Done():
			}
		})
		go func() {
			token.Wait()
			select {
			case subscribed <- token.Error():
			default:
			}
		}()
	})
	client := mqtt.NewClient(o)
	token := client.Connect()
	select {
	case <-token.Done():
	case <-ctx.Done():
		return nil, ctx.Err()
	}

	if err := token.Error(); err != nil {
		return nil, fmt.Errorf("the demo's user cannot reach the broker at %s: %w",
			strings.Join(u.broker, ","), err)
	}
	select {
	case err := <-subscribed:
		return client, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hostAndPort returns the arguments of mosquitto_sub for a broker's URL.
func hostAndPort(url string) string {
	_, address, _ := strings.Cut(url, "://")
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return strings.Trim(address, "[]")
	}
	return host + " -p " + port
}
