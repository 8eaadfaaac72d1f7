"""The HTTP API: its routes, who may call them, its limits and its log."""

import json

import pytest

from stack_model import PROD, Refused, Stack

OPEN = {"GET /healthz"}
ROUTES = OPEN | {
    "POST /orders",
    "GET /orders",
    "GET /orders/{id}",
    "POST /orders/{id}/cancel",
    "POST /orders/{id}/refunds",
}


def test_the_routes_are_those_of_the_api(prod: Stack) -> None:
    assert {route["RouteKey"] for route in prod.of_type("AWS::ApiGatewayV2::Route").values()} == ROUTES


def test_every_route_but_the_health_check_wants_a_token(prod: Stack, local: Stack) -> None:
    for stack in (prod, local):
        for route in stack.of_type("AWS::ApiGatewayV2::Route").values():
            if route["RouteKey"] in OPEN:
                assert route["AuthorizationType"] == "NONE"
            else:
                assert (route["AuthorizationType"], route["AuthorizerId"]) == ("JWT", "ApiAuthorizer")


def test_the_authorizer_trusts_the_issuer_for_the_audience_and_nobody_else(prod: Stack) -> None:
    authorizer, = prod.of_type("AWS::ApiGatewayV2::Authorizer").values()
    assert authorizer["AuthorizerType"] == "JWT"
    assert authorizer["JwtConfiguration"] == {"Issuer": PROD["JwtIssuer"], "Audience": [PROD["JwtAudience"]]}
    assert authorizer["IdentitySource"] == ["$request.header.Authorization"]


def test_the_function_checks_for_the_same_issuer_and_audience(prod: Stack, local: Stack) -> None:
    for stack in (prod, local):
        authorizer, = stack.of_type("AWS::ApiGatewayV2::Authorizer").values()
        variables = stack.functions()["accept-order"]["Environment"]["Variables"]
        trusted = authorizer["JwtConfiguration"]
        assert (variables["JWT_ISSUER"], [variables["JWT_AUDIENCE"]]) == (trusted["Issuer"], trusted["Audience"])


@pytest.mark.parametrize("stage", ["dev", "prod"])
@pytest.mark.parametrize(
    "missing", ["JwtIssuer", "JwtAudience", "PaymentApiKey", "CarrierApiKey", "CarrierApiUrl", "MailFrom"]
)
def test_no_stage_but_local_deploys_without_it(stage: str, missing: str) -> None:
    given = {**PROD, "Stage": stage}
    Stack(**given)
    del given[missing]
    with pytest.raises(Refused, match=missing):
        Stack(**given)


def test_a_forgotten_stage_is_refused_and_never_taken_for_local() -> None:
    with pytest.raises(Refused, match="Stage"):
        Stack(**{name: value for name, value in PROD.items() if name != "Stage"})


@pytest.mark.parametrize(
    "issuer", ["http://tokens.example.net", "tokens.example.net", "http://127.0.0.1.example.net/x", "https://a b"]
)
def test_an_issuer_without_tls_is_refused(issuer: str) -> None:
    with pytest.raises(Refused, match="JwtIssuer"):
        Stack(**{**PROD, "JwtIssuer": issuer})


def test_local_takes_an_issuer_on_this_machine() -> None:
    stack = Stack(Stage="local", JwtIssuer="http://127.0.0.1:9100/auth", JwtAudience="orderflow")
    authorizer, = stack.of_type("AWS::ApiGatewayV2::Authorizer").values()
    assert authorizer["JwtConfiguration"]["Issuer"] == "http://127.0.0.1:9100/auth"


def test_local_without_an_issuer_trusts_nobody(local: Stack) -> None:
    authorizer, = local.of_type("AWS::ApiGatewayV2::Authorizer").values()
    assert authorizer["JwtConfiguration"]["Issuer"] == "http://127.0.0.1:9/nobody"


def test_the_gateway_waits_longer_than_the_function_and_no_longer_than_it_can(prod: Stack) -> None:
    integration, = prod.of_type("AWS::ApiGatewayV2::Integration").values()
    assert integration["PayloadFormatVersion"] == "2.0"
    assert prod.functions()["accept-order"]["Timeout"] * 1000 < integration["TimeoutInMillis"] <= 30_000


def test_the_gateway_limits_the_rate_and_logs_access(prod: Stack) -> None:
    stage, = prod.of_type("AWS::ApiGatewayV2::Stage").values()
    assert stage["StageName"] == "$default" and stage["AutoDeploy"] is True
    settings = stage["DefaultRouteSettings"]
    assert int(settings["ThrottlingRateLimit"]) == 200 and int(settings["ThrottlingBurstLimit"]) == 400
    assert stage["AccessLogSettings"]["DestinationArn"].endswith(":log-group:/aws/vendedlogs/shop-api")


def test_the_access_log_names_no_customer_address_token_or_order(prod: Stack) -> None:
    stage, = prod.of_type("AWS::ApiGatewayV2::Stage").values()
    fields = json.loads(stage["AccessLogSettings"]["Format"])
    assert {"request_id", "route", "status"} <= fields.keys()
    for told in ("sourceIp", "$context.path", "claims", "userAgent", "resourcePath"):
        assert told not in stage["AccessLogSettings"]["Format"], told


def test_only_this_api_may_invoke_the_function(prod: Stack) -> None:
    permission, = prod.of_type("AWS::Lambda::Permission").values()
    assert permission["FunctionName"] == "shop-accept-order"
    assert permission["Principal"] == "apigateway.amazonaws.com"
    assert permission["SourceArn"] == "arn:aws:execute-api:eu-west-1:123456789012:Api/*/*"
