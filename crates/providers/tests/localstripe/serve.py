"""Serves localstripe, a Stripe that others wrote, on a free loopback port; prints the port.

    python serve.py            as it comes
    python serve.py --holds    with what localstripe 1.15 lacks of holds, see below

Its own launcher listens on every address and keeps its state in a file in /tmp; this one does neither. It ends with
its standard input, so that it cannot outlive the test that started it.

localstripe 1.15 knows PaymentIntents (create, confirm, decline, 3-D Secure, cancel) but always captures them at once: it
refuses `capture_method`, has no capture of a PaymentIntent, and its refunds go by charge only. Its *charges* can be
held and captured, so `--holds` joins the two: a PaymentIntent of `capture_method=manual` makes a charge that is not
captured, is captured through it, and refunds find the charge of their PaymentIntent. Nothing else is changed: amounts,
states, declines, refusals, metadata, lists and JSON are localstripe's own.
"""

import asyncio
import socket
import sys

from aiohttp import web
from localstripe import resources
from localstripe.errors import UserError
from localstripe.resources import Charge, PaymentIntent, Refund, Store, extra_apis, try_convert_to_int

Store.dump_to_disk = lambda self: None


def add_holds():
    init, trigger, status = PaymentIntent.__init__, PaymentIntent._trigger_payment, PaymentIntent.status
    refund_init, refund_list = Refund.__init__, Refund._api_list_all.__func__

    def intent_init(self, capture_method="automatic", payment_method_types=None, **data):
        if capture_method not in ("automatic", "automatic_async", "manual") or payment_method_types not in (None, ["card"]):
            raise UserError(400, "Bad request")
        init(self, **data)
        self.capture_method = capture_method

    def trigger_payment(self):
        if self.capture_method != "manual":
            return trigger(self)
        if self.status != "requires_confirmation":
            raise UserError(400, "Bad request")
        charge = Charge(
            amount=self.amount, currency=self.currency, customer=self.customer, source=self.payment_method, capture=False
        )
        self.latest_charge = charge
        if not charge._authorized:
            charge._trigger_payment()

    def intent_status(self):
        found = status.fget(self)
        held = self.latest_charge is not None and self.latest_charge.status == "pending"
        return "requires_capture" if found == "processing" and held and self.capture_method == "manual" else found

    def capture(id, amount_to_capture=None, **kwargs):
        if kwargs:
            raise UserError(400, "Unexpected " + ", ".join(kwargs))
        intent = PaymentIntent._api_retrieve(id)
        if intent.status != "requires_capture":
            raise UserError(400, "Bad request")
        amount = try_convert_to_int(amount_to_capture)
        Charge._api_capture(intent.latest_charge.id, amount=amount)
        intent._received = intent.amount if amount is None else amount
        return intent

    def charge_of(payment_intent):
        charge = PaymentIntent._api_retrieve(payment_intent).latest_charge
        if charge is None or not charge.captured:
            raise UserError(400, "Bad request")
        return charge.id

    def with_charge(self, charge=None, payment_intent=None, **data):
        refund_init(self, charge=charge_of(payment_intent) if payment_intent else charge, **data)

    def listed(cls, url, charge=None, payment_intent=None, **data):
        return refund_list(cls, url, charge=charge_of(payment_intent) if payment_intent else charge, **data)

    PaymentIntent.__init__ = intent_init
    PaymentIntent._trigger_payment = trigger_payment
    PaymentIntent.status = property(intent_status)
    PaymentIntent.amount_capturable = property(lambda self: self.amount if self.status == "requires_capture" else 0)
    PaymentIntent.amount_received = property(lambda self: getattr(self, "_received", 0))
    Refund.__init__ = with_charge
    Refund._api_list_all = classmethod(listed)
    extra_apis.append(("POST", "/v1/payment_intents/{id}/capture", capture))


if "--holds" in sys.argv[1:]:
    add_holds()

# Its routes are made when it is imported.
from localstripe import server  # noqa: E402


async def main():
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    runner = web.AppRunner(server.app)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    print(listener.getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


assert resources.PaymentIntent is server.PaymentIntent
asyncio.run(main())
