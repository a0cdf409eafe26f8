package client

import (
	"errors"
	"net/http/httptest"
	"testing"

	"maunium.net/go/mautrix"
	mid "maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/pushrules"
)

// TestForeignClient has a client library that was written elsewhere go through the endpoints of accounts.
func TestForeignClient(t *testing.T) {
	aa := newAccountAPI(t, nil)
	srv := httptest.NewServer(aa)
	defer srv.Close()
	ctx := t.Context()
	ok := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	cli, err := mautrix.NewClient(srv.URL, "", "")
	ok("client", err)
	reg, err := cli.RegisterDummy(ctx, &mautrix.ReqRegister[any]{Username: "amy", Password: testPassword})
	ok("register", err)
	if _, err := cli.RegisterAvailable(ctx, "amy"); !errors.Is(err, mautrix.MUserInUse) {
		t.Error(err)
	}
	login := &mautrix.ReqLogin{Type: mautrix.AuthTypePassword, Password: testPassword, StoreCredentials: true,
		Identifier: mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: "amy"}, InitialDeviceDisplayName: "Laptop"}
	res, err := cli.Login(ctx, login)
	ok("login", err)
	who, err := cli.Whoami(ctx)
	ok("whoami", err)
	if who.UserID != reg.UserID || who.DeviceID != res.DeviceID || res.DeviceID == reg.DeviceID {
		t.Errorf("%+v", who)
	}

	ok("name", cli.SetDisplayName(ctx, "에이미"))
	ok("avatar", cli.SetAvatarURL(ctx, mid.MustParseContentURI("mxc://example.org/abc")))
	profile, err := cli.GetProfile(ctx, reg.UserID)
	if ok("profile", err); profile.DisplayName != "에이미" || profile.AvatarURL.String() != "mxc://example.org/abc" {
		t.Errorf("%+v", profile)
	}

	ok("account data", cli.SetAccountData(ctx, "org.example", map[string]int{"n": 1}))
	var data struct{ N int }
	if ok("account data", cli.GetAccountData(ctx, "org.example", &data)); data.N != 1 {
		t.Error(data)
	}
	if err := cli.GetRoomAccountData(ctx, "!r", "org.example", &data); !errors.Is(err, mautrix.MNotFound) {
		t.Error(err)
	}
	filter, err := cli.CreateFilter(ctx, &mautrix.Filter{Room: &mautrix.RoomFilter{Timeline: &mautrix.FilterPart{Limit: 5}}})
	if ok("filter", err); filter.FilterID == "" {
		t.Error("no filter id")
	}

	ok("rule", cli.PutPushRule(ctx, "global", pushrules.ContentRule, "cake", &mautrix.ReqPutPushRule{Pattern: "cake",
		Actions: []pushrules.PushActionType{pushrules.ActionNotify}}))
	rule, err := cli.GetPushRule(ctx, "global", pushrules.ContentRule, "cake")
	if ok("rule", err); rule.Pattern != "cake" || !rule.Enabled || rule.Default {
		t.Errorf("%+v", rule)
	}
	rules, err := cli.GetPushRules(ctx)
	if ok("rules", err); len(rules.Override) < 5 || len(rules.Content) == 0 {
		t.Errorf("%d override, %d content", len(rules.Override), len(rules.Content))
	}

	ok("device", cli.SetDeviceInfo(ctx, reg.DeviceID, &mautrix.ReqDeviceInfo{DisplayName: "Phone"}))
	devices, err := cli.GetDevicesInfo(ctx)
	if ok("devices", err); len(devices.Devices) != 2 {
		t.Errorf("%+v", devices)
	}
	if err := cli.DeleteDevice(ctx, reg.DeviceID, &mautrix.ReqDeleteDevice[any]{}); err == nil {
		t.Error("a device was deleted without a password")
	}
	ok("delete", cli.DeleteDevice(ctx, reg.DeviceID, &mautrix.ReqDeleteDevice[any]{Auth: mautrix.ReqUIAuthLogin{
		BaseAuthData: mautrix.BaseAuthData{Type: mautrix.AuthTypePassword, Session: "made up by the client"}, User: "amy", Password: testPassword,
	}}))
	_, err = cli.Logout(ctx)
	ok("logout", err)
	if _, err := cli.Whoami(ctx); !errors.Is(err, mautrix.MUnknownToken) && !errors.Is(err, mautrix.MMissingToken) {
		t.Error(err)
	}
}
