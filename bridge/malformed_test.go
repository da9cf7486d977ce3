package bridge_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zigate-ota/zigate-ota/bridge"
	"github.com/zigate-ota/zigate-ota/bridge/contract"
	"github.com/zigate-ota/zigate-ota/zigate/sim"
)

// ownTopic matches the names of operations that are answered under their own name, even where there is no such
// operation.
var ownTopic = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// TestMalformedRequests: each gets exactly one final answer, invalidData, whose error names what is wrong,
// and the service goes on.
func TestMalformedRequests(t *testing.T) {
	const device = `"deviceId":"0x000b57fffec6a5b2"`
	long := strings.Repeat("x", 200)
	tests := map[string]struct {
		operation, payload string
		retained           bool
		names              string // in the error
		transaction        string // expected echo, JSON
		response           string // operation in the answer
	}{
		"no JSON":               {operation: "image_info", payload: `deviceId`, names: "JSON object"},
		"half a JSON":           {operation: "image_info", payload: `{"deviceId":`, names: "JSON object"},
		"an array":              {operation: "image_info", payload: `["deviceId"]`, names: "JSON object"},
		"two objects":           {operation: "image_info", payload: `{` + device + `}{}`, names: "JSON object"},
		"not UTF-8":             {operation: "image_info", payload: "{\"deviceId\":\"\xff\"}", names: "UTF-8"},
		"empty":                 {operation: "image_info", payload: ``, names: "deviceId"},
		"only space":            {operation: "upgrade", payload: "  \n", names: "deviceId"},
		"required key missing":  {operation: "add_image", payload: `{` + device + `,"transaction":7}`, names: "url: is required", transaction: "7"},
		"unknown key":           {operation: "cancel", payload: `{` + device + `,"devceId":1,"transaction":"a"}`, names: `unknown key "devceId"; allowed are deviceId, transaction`, transaction: `"a"`},
		"a key twice":           {operation: "cancel", payload: `{` + device + `,` + device + `}`, names: `"deviceId" is there twice`},
		"null":                  {operation: "image_info", payload: `{"deviceId":null}`, names: "deviceId: must be"},
		"a device that is true": {operation: "image_info", payload: `{"deviceId":true}`, names: "deviceId: must be"},
		"an empty device":       {operation: "image_info", payload: `{"deviceId":""}`, names: "deviceId: must be"},
		"an address too large":  {operation: "image_info", payload: `{"deviceId":65536}`, names: "deviceId: must be"},
		"a negative address":    {operation: "image_info", payload: `{"deviceId":-1}`, names: "deviceId: must be"},
		"half an address":       {operation: "image_info", payload: `{"deviceId":1.5}`, names: "deviceId: must be"},
		"type out of range":     {operation: "remove_image", payload: `{` + device + `,"imageTypeId":65536}`, names: "imageTypeId: must be a whole number from 0 to 65535"},
		"type is a word":        {operation: "remove_image", payload: `{` + device + `,"imageTypeId":"light"}`, names: "imageTypeId: must be a whole number"},
		"version out of range":  {operation: "upgrade", payload: `{` + device + `,"imageVersion":4294967296}`, names: "imageVersion: must be"},
		"version negative":      {operation: "upgrade", payload: `{` + device + `,"imageVersion":-1}`, names: "imageVersion: must be"},
		"version with exponent": {operation: "upgrade", payload: `{` + device + `,"imageVersion":1e3}`, names: "imageVersion: must be"},
		"force is a word":       {operation: "upgrade", payload: `{` + device + `,"force":"true"}`, names: "force: must be true or false"},
		"when is nonsense":      {operation: "upgrade", payload: `{` + device + `,"when":"tomorrow"}`, names: `when: must be "now", "window" or an RFC 3339 time`},
		"no window":             {operation: "upgrade", payload: `{` + device + `,"when":"window"}`, names: "ZIGATE_OTA_UPGRADE_WINDOW"},
		"no URL":                {operation: "add_image", payload: `{` + device + `,"url":"firmware.ota"}`, names: "url: must be an http"},
		"another scheme":        {operation: "add_image", payload: `{` + device + `,"url":"ftp://host/f.ota"}`, names: "url: must be an http"},
		"no host":               {operation: "add_image", payload: `{` + device + `,"url":"http:///f.ota"}`, names: "url: must name a host"},
		"digest too short":      {operation: "add_image", payload: `{` + device + `,"url":"http://h/f","sha256":"abcd"}`, names: "sha256: must be 64 hexadecimal digits"},
		"digest no hex":         {operation: "add_image", payload: `{` + device + `,"url":"http://h/f","sha512":"` + strings.Repeat("g", 128) + `"}`, names: "sha512: must be 128"},
		"all with a URL":        {operation: "upgrade", payload: `{"deviceId":"all","url":"http://h/f"}`, names: "url and imageVersion"},
		"excluded is a text":    {operation: "configure", payload: `{` + device + `,"excluded":"yes"}`, names: "excluded: must be true or false, or null"},
		"no block":              {operation: "configure", payload: `{` + device + `,"blockSize":0}`, names: "blockSize: must be a whole number from 1 to 64, or null"},
		"a block too large":     {operation: "configure", payload: `{` + device + `,"blockSize":"0x41"}`, names: "blockSize: must be a whole number from 1 to 64, or null"},
		"an interval too long":  {operation: "configure", payload: `{` + device + `,"blockIntervalMs":60001}`, names: "blockIntervalMs: must be a whole number from 0 to 60000, or null"},
		"no stall timeout":      {operation: "configure", payload: `{` + device + `,"stallTimeoutSeconds":0}`, names: "stallTimeoutSeconds: must be a whole number from 1 to 604800, or null"},
		"half an attempt":       {operation: "configure", payload: `{` + device + `,"notifyAttempts":1.5}`, names: "notifyAttempts: must be a whole number from 1 to 100000, or null"},
		"a setting unknown":     {operation: "configure", payload: `{` + device + `,"retries":1}`, names: `unknown key "retries"; allowed are blockIntervalMs, blockSize, deviceId, excluded, notifyAttempts, stallTimeoutSeconds, transaction`},
		"a device that is null": {operation: "configure", payload: `{"deviceId":null}`, names: "deviceId: must be an euid"},
		"name like an address":  {operation: "rename", payload: `{` + device + `,"name":"0x4f4f"}`, names: "name: must not be"},
		"name like all":         {operation: "rename", payload: `{` + device + `,"name":" All"}`, names: "name: must not be"},
		"name like an euid":     {operation: "rename", payload: `{` + device + `,"name":"00:0B:57:FF:FE:C6:A5:B2 "}`, names: "name: must not be"},
		"name of blanks":        {operation: "rename", payload: `{` + device + `,"name":" \u00a0"}`, names: "name: must have a character"},
		"name with a NUL":       {operation: "rename", payload: `{` + device + `,"name":"a\u0000"}`, names: "character 2 is U+0000"},
		"name of two lines":     {operation: "rename", payload: `{` + device + `,"name":"a\nb"}`, names: "character 2 is U+000A"},
		"name turned around":    {operation: "rename", payload: `{` + device + `,"name":"\u202ea"}`, names: "character 1 is U+202E"},
		"name with no width":    {operation: "rename", payload: `{` + device + `,"name":"a\u200bb"}`, names: "character 2 is U+200B"},
		"name cut in a letter":  {operation: "rename", payload: `{` + device + `,"name":"a\ud83d"}`, names: "character 2 is U+FFFD"},
		"name too long":         {operation: "rename", payload: `{` + device + `,"name":"` + long[:65] + `"}`, names: "name: must have 1 to 64"},
		"pause for no time":     {operation: "pause", payload: `{` + device + `,"seconds":0}`, names: "seconds: must be"},
		"transaction too long":  {operation: "image_info", payload: `{` + device + `,"transaction":"` + long + `"}`, names: "transaction: must be", transaction: `"` + long[:128] + `"`},
		"too long by a byte":    {operation: "image_info", payload: `{"transaction":"` + long[:127] + `ü",` + device + `}`, names: "transaction: must be", transaction: `"` + long[:127] + `"`},
		"too long with escapes": {operation: "image_info", payload: `{"transaction":"` + strings.Repeat(`\u0041`, 129) + `"}`, names: "transaction: must be", transaction: `"` + strings.Repeat("A", 128) + `"`},
		"a number too long":     {operation: "image_info", payload: `{` + device + `,"transaction":` + strings.Repeat("7", 129) + `}`, names: "transaction: must be", transaction: strings.Repeat("7", 128)},
		"cut in an exponent":    {operation: "image_info", payload: `{` + device + `,"transaction":` + strings.Repeat("7", 126) + `E+10}`, names: "transaction: must be", transaction: strings.Repeat("7", 126)},
		"too long, and too much": {
			operation: "image_info", payload: `{"transaction":"` + strings.Repeat(`\ud83d\ude00`, 6000) + `"}`, names: "at most 65536", transaction: `"` + strings.Repeat("\U0001f600", 32) + `"`,
		},
		"too long, and no end":  {operation: "upgrad", payload: `{"transaction": "` + long, names: "no operation of that name", transaction: `"` + long[:128] + `"`, response: "unknown"},
		"short, and no end":     {operation: "image_info", payload: `{"transaction":"` + long[:128], names: "JSON object"},
		"escapes, not too long": {operation: "image_info", payload: `{"transaction":"` + strings.Repeat(`\u0041`, 128) + `"}`, names: "deviceId: is required", transaction: `"` + strings.Repeat(`\u0041`, 128) + `"`},
		"null as a transaction": {operation: "image_info", payload: `{` + device + `,"transaction":null}`, names: "transaction: must be"},
		"transaction an object": {operation: "image_info", payload: `{` + device + `,"transaction":{}}`, names: "transaction: must be"},
		"too large":             {operation: "image_info", payload: `{"transaction":8,"deviceId":"` + strings.Repeat("x", 65536) + `"}`, names: "65536", transaction: "8"},
		"a transaction, cut":    {operation: "image_info", payload: `{"transaction":9,"deviceId":`, names: "JSON object", transaction: "9"},
		"and then two objects":  {operation: "image_info", payload: `{"transaction":"t"}{}`, names: "JSON object", transaction: `"t"`},
		"and then a key twice":  {operation: "image_info", payload: `{"transaction":1,` + device + `,` + device + `}`, names: "twice", transaction: "1"},
		"load what":             {operation: "load_image", payload: `{"transaction":5}`, names: "deviceId, url: one of the two", transaction: "5", response: "loadImageResponse"},
		"load both":             {operation: "load_image", payload: `{` + device + `,"url":"http://h/f"}`, names: "deviceId, url: one of the two"},
		"nothing to load":       {operation: "load_image", payload: ``, names: "deviceId, url: one of the two"},
		"load with a digest":    {operation: "load_image", payload: `{"url":"http://h/f","sha256":"00"}`, names: "sha256", response: "loadImageResponse"},
		"notify whom":           {operation: "image_notify", payload: `{}`, names: "deviceId: is required", response: "imageNotifyResponse"},
		"payload type 4":        {operation: "image_notify", payload: `{` + device + `,"payloadType":4}`, names: "payloadType: must be a whole number from 0 to 3"},
		"jitter 0":              {operation: "image_notify", payload: `{` + device + `,"queryJitter":0}`, names: "queryJitter: must be a whole number from 1 to 100"},
		"jitter 101":            {operation: "image_notify", payload: `{` + device + `,"queryJitter":"101"}`, names: "queryJitter: must be a whole number from 1 to 100"},
		"a version not known":   {operation: "image_notify", payload: `{` + device + `,"payloadType":3}`, names: "imageVersion: must be given"},
		"upgrade time too late": {operation: "upgrade_end", payload: `{` + device + `,"upgradeTime":4294967296}`, names: "upgradeTime: must be", response: "upgradeEndResponse"},
		"current time no time":  {operation: "upgrade_end", payload: `{` + device + `,"currentTime":"now"}`, names: "currentTime: must be"},
		"which upgrade":         {operation: "upgrade_end", payload: `{` + device + `}`, names: "imageVersion: must be given"},
		"request time negative": {operation: "wait_for_data", payload: `{` + device + `,"requestTime":-1}`, names: "requestTime: must be", response: "waitForDataResponse"},
		"delay too long":        {operation: "wait_for_data", payload: `{` + device + `,"blockRequestDelay":65536}`, names: "blockRequestDelay: must be a whole number from 0 to 65535"},
		"retained": {
			operation: "upgrade", payload: `{` + device + `,"transaction":"r"}`, retained: true, names: "retained", transaction: `"r"`,
		},
		"unknown operation":       {operation: "upgrad", payload: `{"transaction":1}`, names: "no operation of that name", transaction: "1", response: "unknown"},
		"operation with capitals": {operation: "Upgrade", payload: `{}`, names: "no operation of that name", response: "unknown"},
		"more levels":             {operation: "upgrade/now", payload: `{}`, names: "no operation of that name", response: "unknown"},
		"a name of 64":            {operation: strings.Repeat("a", 64), payload: `{}`, names: "no operation of that name", response: "unknown"},
		"a name of 65":            {operation: strings.Repeat("a", 65), payload: `{}`, names: "no operation of that name", response: "unknown"},
		"a name of all it may be": {operation: "z_0-9", payload: `no JSON`, names: "no operation of that name", response: "unknown"},
		"a name with a dot":       {operation: "up.grade", payload: `{}`, names: "no operation of that name", response: "unknown"},
		"a name with an umlaut":   {operation: "aufwärts", payload: `{}`, names: "no operation of that name", response: "unknown"},
		"named unknown":           {operation: "unknown", payload: ``, names: "no operation of that name", response: "unknown"},
		"more levels of one":      {operation: "upgrade/", payload: `{}`, names: "no operation of that name", response: "unknown"},
		"unknown and retained":    {operation: "upgrad", payload: `{"transaction":2}`, retained: true, names: "no operation of that name", transaction: "2", response: "unknown"},
		"no operation":            {operation: "", payload: `{}`, names: "no operation of that name", response: "unknown"},
	}
	withBridge(t, func(b *bridge.Bridge, out *paper, _ *sim.Dongle) {
		for name, tt := range tests {
			topic := "zigate-ota/response/" + tt.operation
			if tt.response == "unknown" && !ownTopic.MatchString(tt.operation) {
				topic = "zigate-ota/response/unknown"
			}
			b.HandleRequest(command("zigate-ota/request/"+tt.operation, []byte(tt.payload), tt.retained))
			time.Sleep(time.Minute)
			synctest.Wait()
			answers := out.on(topic)
			if len(answers) != 1 {
				t.Errorf("%s: %d answers on %s: %v", name, len(answers), topic, answers)
				continue
			}
			var a struct {
				Operation, Status, Error string
				Transaction              json.RawMessage
			}
			if err := json.Unmarshal([]byte(answers[0]), &a); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if a.Status != "invalidData" || !strings.Contains(a.Error, tt.names) || string(a.Transaction) != tt.transaction ||
				(tt.response != "" && a.Operation != tt.response) {
				t.Errorf("%s: answered %s; want an error with %q", name, answers[0], tt.names)
			}
		}
		// And it goes on.
		b.HandleRequest(command("zigate-ota/request/service_status", []byte(`{"deviceId":"00:0B:57:FF:FE:C6:A5:B2","transaction":"still there"}`), false))
		synctest.Wait()
		if got := out.on("zigate-ota/response/service_status"); len(got) != 1 || !strings.Contains(got[0], `"serviceAvailable","transaction":"still there"`) {
			t.Errorf("afterwards: %v", got)
		}
	})
}

// TestDeviceIDs: every way to name a device, and the ways that name none.
func TestDeviceIDs(t *testing.T) {
	withBridge(t, func(b *bridge.Bridge, out *paper, _ *sim.Dongle) {
		b.HandleRequest(command("zigate-ota/request/rename", []byte(`{"deviceId":20303,"name":"Kitchen bulb"}`), false))
		synctest.Wait()
		if got := out.on("zigate-ota/response/rename"); len(got) != 1 || !strings.Contains(got[0], `"success"`) {
			t.Fatalf("rename: %v", got)
		}
		tests := map[string]string{
			`"0x000b57fffec6a5b2"`:      "imageInfoNotFound",
			`"000B57FFFEC6A5B2"`:        "imageInfoNotFound",
			`"00:0b:57:ff:fe:c6:a5:b2"`: "imageInfoNotFound",
			`"00-0b-57-ff-fe-c6-a5-b2"`: "imageInfoNotFound",
			`20303`:                     "imageInfoNotFound",
			`"20303"`:                   "imageInfoNotFound",
			`"0x4f4f"`:                  "imageInfoNotFound",
			`"0x4F4F"`:                  "imageInfoNotFound",
			`"Kitchen bulb"`:            "imageInfoNotFound",
			`"kitchen bulb"`:            "imageInfoNotFound",
			`" KITCHEN  BULB"`:          "imageInfoNotFound",
			`"kitchen"`:                 "deviceNotFound",
			`20304`:                     "deviceNotFound",
			`"70000"`:                   "deviceNotFound",
			`"Cellar"`:                  "deviceNotFound",
			`"0x000b57fffec6a5b3"`:      "deviceNotFound",
			`"0x000b57fffec6a5b2 "`:     "deviceNotFound",
		}
		for id, want := range tests {
			b.HandleRequest(command("zigate-ota/request/image_info", []byte(`{"deviceId":`+id+`}`), false))
			time.Sleep(time.Minute)
			synctest.Wait()
			answers := out.on("zigate-ota/response/image_info")
			if len(answers) == 0 || !strings.Contains(answers[len(answers)-1], `"status":"`+want+`"`) {
				t.Errorf("%s: %v; want %s", id, answers, want)
			}
			for _, a := range answers[:max(0, len(answers)-1)] {
				if !strings.Contains(a, `"status":"inProgress"`) {
					t.Errorf("%s: more than one final answer: %v", id, answers)
				}
			}
		}
	})
}

// TestOperationsAreCarriedOut: everything that the contract has can be asked for, and each of its keys is
// read.
func TestOperationsAreCarriedOut(t *testing.T) {
	withBridge(t, func(b *bridge.Bridge, out *paper, _ *sim.Dongle) {
		var names []string
		for _, o := range contract.Operations() {
			names = append(names, o.Name)
			for _, key := range o.Keys() {
				b.HandleRequest(command("zigate-ota/request/"+o.Name, []byte(`{"`+key.Name+`":[]}`), false))
				answers := out.on("zigate-ota/response/" + o.Name)
				if len(answers) == 0 || !strings.Contains(answers[len(answers)-1], key.Name+": must be") {
					t.Errorf("%s: a %s that is a list is answered %q", o.Name, key.Name, answers)
				}
			}
		}
		slices.Sort(names)
		if !slices.Equal(names, bridge.Operations()) {
			t.Errorf("of %q these can be asked for: %q", names, bridge.Operations())
		}
	})
}
