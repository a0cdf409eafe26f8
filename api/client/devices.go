package client

import (
	"context"
	"encoding/json"

	"bongsu/account"
	"bongsu/errs"
	"bongsu/id"
)

func (a Accounts) deviceRoutes() []Route {
	const v3 = "/_matrix/client/v3"
	return []Route{
		{Op: "getDevices", Method: "GET", Path: v3 + "/devices", Handle: a.getDevices},
		{Op: "getDevice", Method: "GET", Path: v3 + "/devices/{deviceId}", Handle: a.getDevice},
		{Op: "updateDevice", Method: "PUT", Path: v3 + "/devices/{deviceId}", Handle: a.updateDevice},
		{Op: "deleteDevice", Method: "DELETE", Path: v3 + "/devices/{deviceId}", Handle: a.deleteDevice},
		{Op: "deleteDevices", Method: "POST", Path: v3 + "/delete_devices", Handle: a.deleteDevices},
	}
}

// deviceReply is a device as its user sees it.
type deviceReply struct {
	ID     id.DeviceID `json:"device_id"`
	Name   string      `json:"display_name,omitempty"`
	SeenIP string      `json:"last_seen_ip,omitempty"`
	SeenAt int64       `json:"last_seen_ts,omitempty"` // Unix milliseconds, to the hour
}

func (a Accounts) device(user id.UserID, d account.Device) deviceReply {
	seen, _ := account.LastSeen(a.Service.Rows(), user, d.ID)
	return deviceReply{d.ID, d.Name, seen.Address, seen.At}
}

func (a Accounts) getDevices(_ context.Context, rq *Request) (any, error) {
	out := struct {
		Devices []deviceReply `json:"devices"`
	}{[]deviceReply{}}
	for _, d := range account.Devices(a.Service.Rows(), rq.User()) {
		out.Devices = append(out.Devices, a.device(rq.User(), d))
	}
	return out, nil
}

func (a Accounts) getDevice(_ context.Context, rq *Request) (any, error) {
	d, ok := account.FindDevice(a.Service.Rows(), rq.User(), id.DeviceID(rq.Path("deviceId")))
	if !ok {
		return nil, errs.New("api.getDevice", errs.NotFound, "", "there is no such device")
	}
	return a.device(rq.User(), d), nil
}

func (a Accounts) updateDevice(ctx context.Context, rq *Request) (any, error) {
	var in struct {
		Name *string `json:"display_name"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	device := id.DeviceID(rq.Path("deviceId"))
	if in.Name != nil {
		return nil, a.Service.RenameDevice(ctx, rq.User(), device, *in.Name)
	}
	_, err := a.getDevice(ctx, rq) // nothing to change, but it must be there
	return nil, err
}

func (a Accounts) deleteDevice(ctx context.Context, rq *Request) (any, error) {
	var in struct {
		Auth json.RawMessage `json:"auth"`
	}
	if err := rq.DecodeOptional(&in); err != nil {
		return nil, err
	}
	proof, answer, err := a.prove(ctx, rq, in.Auth)
	if err != nil || answer != nil {
		return answer, err
	}
	return nil, a.Service.DeleteDevices(ctx, proof, []id.DeviceID{id.DeviceID(rq.Path("deviceId"))})
}

// maxDevices is how many devices one call may delete.
const maxDevices = 1000

func (a Accounts) deleteDevices(ctx context.Context, rq *Request) (any, error) {
	const op = "api.deleteDevices"
	var in struct {
		Devices []id.DeviceID   `json:"devices"`
		Auth    json.RawMessage `json:"auth"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	if in.Devices == nil {
		return nil, errs.New(op, errs.Invalid, errs.MissingParam, "devices is required")
	}
	if len(in.Devices) > maxDevices {
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "at most %d devices at once", maxDevices)
	}
	proof, answer, err := a.prove(ctx, rq, in.Auth)
	if err != nil || answer != nil {
		return answer, err
	}
	return nil, a.Service.DeleteDevices(ctx, proof, in.Devices)
}
