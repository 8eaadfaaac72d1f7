"""Reads template.yaml and resolves it as CloudFormation would for one stage, without any AWS.

Enough of CloudFormation for this one file: parameters, conditions, rules, and the intrinsics that the file uses.
Every named thing gets the name, address and ARN that it would have in account 123456789012, so the tests compare ARNs
and not ways of writing them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"

PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "AWS::AccountId": "123456789012",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "shop",
    "AWS::NoValue": None,
}
ARN = "arn:aws:{service}:eu-west-1:123456789012:{rest}"


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short tags as their long forms; no dates, so versions stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _tag(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _tag)


def load() -> dict[str, Any]:
    """The template as it is written."""
    return yaml.load(TEMPLATE.read_text(encoding="utf-8"), Loader=_Loader)


class Refused(Exception):
    """A rule or a parameter's own constraint refused the deployment."""


class Stack:
    """The template resolved for some parameters."""

    def __init__(self, **parameters: str) -> None:
        self.template = load()
        self.parameters = {
            name: str(parameters.pop(name, declared.get("Default", "")))
            for name, declared in self.template["Parameters"].items()
        }
        if parameters:
            raise KeyError(f"the template has no parameter {sorted(parameters)}")
        self._check_parameters()
        self._check_rules()
        self.resources: dict[str, dict[str, Any]] = {}
        for logical_id, declared in self.template["Resources"].items():
            if "Condition" in declared and not self.condition(declared["Condition"]):
                continue
            resource = {key: value for key, value in declared.items() if key != "Properties"}
            resource["Properties"] = self.resolve(declared.get("Properties", {}))
            self.resources[logical_id] = resource
        self.outputs = {name: self.resolve(out["Value"]) for name, out in self.template["Outputs"].items()}

    # ---- what CloudFormation checks first

    def _check_parameters(self) -> None:
        for name, declared in self.template["Parameters"].items():
            value = self.parameters[name]
            if "AllowedValues" in declared and value not in map(str, declared["AllowedValues"]):
                raise Refused(f"{name} is none of its allowed values")
            if "AllowedPattern" in declared and not re.fullmatch(declared["AllowedPattern"], value):
                raise Refused(f"{name} does not match its pattern")
            if len(value) < declared.get("MinLength", 0):
                raise Refused(f"{name} is too short")
            if declared["Type"] == "Number":
                number = float(value)
                if not declared.get("MinValue", number) <= number <= declared.get("MaxValue", number):
                    raise Refused(f"{name} is out of its range")

    def _check_rules(self) -> None:
        for name, rule in self.template.get("Rules", {}).items():
            if "RuleCondition" in rule and not self._logic(rule["RuleCondition"]):
                continue
            for assertion in rule["Assertions"]:
                if not self._logic(assertion["Assert"]):
                    raise Refused(f"{name}: {assertion['AssertDescription']}")

    # ---- conditions

    def condition(self, name: str) -> bool:
        """Whether a condition of the template holds."""
        return self._logic(self.template["Conditions"][name])

    def _logic(self, node: Any) -> bool:
        (function, argument), = node.items()
        if function == "Condition":
            return self.condition(argument)
        if function == "Fn::Not":
            return not self._logic(argument[0])
        if function == "Fn::And":
            return all(map(self._logic, argument))
        if function == "Fn::Or":
            return any(map(self._logic, argument))
        if function == "Fn::Equals":
            left, right = (self.resolve(side) for side in argument)
            return str(left) == str(right)
        raise NotImplementedError(function)

    # ---- intrinsics

    def resolve(self, node: Any) -> Any:
        """The value of a piece of the template; AWS::NoValue takes its key or entry away."""
        if isinstance(node, list):
            return [value for value in map(self.resolve, node) if value is not None]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (function, argument), = node.items()
            if function == "Ref":
                return self.ref(argument)
            if function == "Fn::GetAtt":
                return self.attribute(*argument)
            if function == "Fn::If":
                return self.resolve(argument[1] if self.condition(argument[0]) else argument[2])
            if function == "Fn::Sub":
                return self._sub(argument)
            if function == "Fn::Select":
                return self.resolve(argument[1])[int(argument[0])]
            if function == "Fn::Join":
                return argument[0].join(map(str, self.resolve(argument[1])))
            if function == "Fn::Split":
                return self.resolve(argument[1]).split(argument[0])
            if function.startswith("Fn::"):
                raise NotImplementedError(function)
        resolved = {key: self.resolve(value) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not None}

    def _sub(self, argument: Any) -> str:
        text, own = (argument, {}) if isinstance(argument, str) else argument

        def one(match: re.Match[str]) -> str:
            name = match.group(1)
            if name in own:
                return str(self.resolve(own[name]))
            if "." in name:
                return str(self.attribute(*name.split(".", 1)))
            return str(self.ref(name))

        return re.sub(r"\$\{([A-Za-z0-9:.]+)\}", one, text)

    def ref(self, name: str) -> Any:
        """What `!Ref` gives."""
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.parameters:
            return self.parameters[name]
        kind, own = self._named(name)
        if kind == "AWS::SQS::Queue":
            return f"https://sqs.eu-west-1.amazonaws.com/123456789012/{own}"
        if kind in ("AWS::SNS::Topic", "AWS::SecretsManager::Secret"):
            return self.attribute(name, "Arn")
        return own

    def attribute(self, name: str, attribute: str) -> str:
        """What `!GetAtt` gives."""
        kind, own = self._named(name)
        service, rest = {
            "AWS::SQS::Queue": ("sqs", own),
            "AWS::SNS::Topic": ("sns", own),
            "AWS::DynamoDB::Table": ("dynamodb", f"table/{own}"),
            "AWS::Events::EventBus": ("events", f"event-bus/{own}"),
            "AWS::Logs::LogGroup": ("logs", f"log-group:{own}:*"),
            "AWS::SecretsManager::Secret": ("secretsmanager", f"secret:{own}"),
            "AWS::Serverless::Function": ("lambda", f"function:{own}"),
            "AWS::CloudWatch::Alarm": ("cloudwatch", f"alarm:{own}"),
        }.get(kind, ("", own))
        if attribute == "Arn":
            if kind == "AWS::S3::Bucket":
                return f"arn:aws:s3:::{own}"
            if kind == "AWS::IAM::Role":
                return f"arn:aws:iam::123456789012:role/{own}"
            if service:
                return ARN.format(service=service, rest=rest)
        if attribute == "StreamArn":
            return ARN.format(service=service, rest=f"{rest}/stream/2026-01-01T00:00:00.000")
        if attribute in ("QueueName", "TopicName"):
            return own
        if attribute == "ApiEndpoint":
            return f"https://{own}.execute-api.eu-west-1.amazonaws.com"
        raise NotImplementedError(f"{name}.{attribute}")

    def _named(self, logical_id: str) -> tuple[str, str]:
        declared = self.template["Resources"][logical_id]
        properties = declared.get("Properties", {})
        own = next((properties[key] for key in (
            "QueueName", "TopicName", "TableName", "FunctionName", "LogGroupName", "DashboardName", "AlarmName",
        ) if key in properties), None)
        if declared["Type"] == "AWS::Lambda::EventSourceMapping":
            own = None  # `FunctionName` is whom it feeds; its `!Ref` is an id that Lambda makes
        if own is None and declared["Type"] in ("AWS::SecretsManager::Secret", "AWS::Events::EventBus"):
            own = properties["Name"]
        return declared["Type"], self.resolve(own) if own is not None else logical_id

    # ---- looking around

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of every resource of a type, by logical id."""
        return {name: found["Properties"] for name, found in self.resources.items() if found["Type"] == kind}

    def mappings(self) -> dict[str, dict[str, Any]]:
        """Every event source mapping."""
        return self.of_type("AWS::Lambda::EventSourceMapping")

    def alarms(self) -> dict[str, dict[str, Any]]:
        """Every alarm of metrics by its name, without the stack's."""
        alarms = self.of_type("AWS::CloudWatch::Alarm").values()
        return {alarm["AlarmName"].removeprefix("shop-"): alarm for alarm in alarms}

    def queues(self) -> dict[str, dict[str, Any]]:
        """Every queue, by ARN, with its logical id as `LogicalId`."""
        return {
            self.attribute(name, "Arn"): {**properties, "LogicalId": name}
            for name, properties in self.of_type("AWS::SQS::Queue").items()
        }

    def functions(self) -> dict[str, dict[str, Any]]:
        """Every function by its short name (`accept-order`), globals merged in."""
        shared = self.resolve(self.template["Globals"]["Function"])
        found = {}
        for properties in self.of_type("AWS::Serverless::Function").values():
            merged = {**shared, **properties}
            merged["Environment"] = {
                "Variables": {**shared["Environment"]["Variables"], **properties["Environment"]["Variables"]}
            }
            found[properties["FunctionName"].removeprefix("shop-")] = merged
        return found

    def statements(self, logical_id: str) -> list[dict[str, Any]]:
        """The statements of a role, actions and resources as lists."""
        return [
            {**statement, "Action": as_list(statement["Action"]), "Resource": as_list(statement["Resource"])}
            for policy in self.resources[logical_id]["Properties"]["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
        ]


def as_list(value: Any) -> list[Any]:
    """One or many, as many."""
    return value if isinstance(value, list) else [value]


def walk(node: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value below a node."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield key, value
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


PROD = {
    "Stage": "prod",
    "JwtIssuer": "https://tokens.example.net/shop",
    "JwtAudience": "orders",
    "PaymentApiKey": "key-of-the-payment-provider",
    "CarrierApiKey": "key-of-the-carrier",
    "CarrierApiUrl": "https://carrier.example.net",
    "MailFrom": "orders@shop.example.net",
}
