package client

import (
	"context"
	"encoding/json"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/keys"
)

func (k Keys) sendToDevice(ctx context.Context, rq *Request) (any, error) {
	typ, txn := rq.Path("eventType"), rq.Path("txnId")
	if len(typ) > id.MaxLen || len(txn) > id.MaxLen {
		return nil, errs.New("api.sendToDevice", errs.Invalid, errs.InvalidParam,
			"event type and transaction id have at most %d bytes", id.MaxLen)
	}
	var in struct {
		Messages map[string]map[id.DeviceID]json.RawMessage `json:"messages"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	if in.Messages == nil {
		return nil, missing("messages")
	}
	out, err := byUser(in.Messages)
	if err != nil {
		return nil, err
	}
	return nil, k.Service.Send(ctx, rq.User(), rq.Device(), typ, txn, keys.Outgoing(out))
}
