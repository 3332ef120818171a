"""boto3 against a running Longshore: waiters tasks_running and tasks_stopped, and every paginator of what is built."""

import json
import sys

import boto3

image = sys.argv[1]
ecs = boto3.client("ecs")
logs = boto3.client("logs")


def pages(client, name, key, size, **arguments):
    """All items, and the sizes of the pages they came in."""
    items, sizes = [], []
    config = {"PageSize": size}
    for page in client.get_paginator(name).paginate(PaginationConfig=config, **arguments):
        items += page[key]
        sizes.append(len(page[key]))
    assert all(count <= size for count in sizes), (name, sizes)
    return items, sizes


def all_in_pages(client, name, key, count, size, **arguments):
    items, sizes = pages(client, name, key, size, **arguments)
    assert len(items) == count, (name, len(items), count)
    unique = {json.dumps(item, default=str, sort_keys=True) for item in items}
    assert len(unique) == count, (name, "an item came twice")
    assert len(sizes) == -(-count // size), (name, sizes)
    print(name, count, "in", len(sizes), "pages")
    return items


for number in range(5):
    ecs.create_cluster(clusterName=f"paged-{number}")
all_in_pages(ecs, "list_clusters", "clusterArns", 6, 4)

for family in ["alpha", "beta", "gamma"]:
    for _ in range(2):
        ecs.register_task_definition(
            family=family,
            containerDefinitions=[
                {"name": "main", "image": image, "memory": 16, "command": ["sleep", "3600"], "stopTimeout": 1}
            ],
        )
all_in_pages(ecs, "list_task_definitions", "taskDefinitionArns", 6, 4)
all_in_pages(ecs, "list_task_definition_families", "families", 3, 2)

waiter = ecs.get_waiter("tasks_running")
waiter.config.delay = 1
stopped = ecs.get_waiter("tasks_stopped")
stopped.config.delay = 1

answer = ecs.run_task(taskDefinition="alpha", count=3)
assert answer["failures"] == [], answer
tasks = [task["taskArn"] for task in answer["tasks"]]
waiter.wait(tasks=tasks)
print("tasks_running")
listed = all_in_pages(ecs, "list_tasks", "taskArns", 3, 2)
assert sorted(listed) == sorted(tasks)
all_in_pages(ecs, "list_container_instances", "containerInstanceArns", 1, 1)
attributes, sizes = pages(ecs, "list_attributes", "attributes", 10, targetType="container-instance", cluster="default")
assert len(attributes) > 10 and len(sizes) > 1, sizes
for task in tasks:
    ecs.stop_task(task=task)
stopped.wait(tasks=tasks)
print("tasks_stopped")

for number in range(5):
    ecs.create_service(serviceName=f"paged-{number}", taskDefinition="alpha", desiredCount=0)
all_in_pages(ecs, "list_services", "serviceArns", 5, 2)
ecs.update_cluster(cluster="default", serviceConnectDefaults={"namespace": "here"})
assert pages(ecs, "list_services_by_namespace", "serviceArns", 2, namespace="here")[0] == []
try:
    ecs.list_services_by_namespace(namespace="nowhere")
    raise AssertionError("there is no such namespace")
except ecs.exceptions.NamespaceNotFoundException:
    pass
names = {"serviceLongArnFormat", "taskLongArnFormat", "awsvpcTrunking"}
for name in names:
    ecs.put_account_setting(name=name, value="enabled")
settings = all_in_pages(ecs, "list_account_settings", "settings", 3, 2)
assert {setting["name"] for setting in settings} == names
token, providers = None, []
while token != "":
    more = {"nextToken": token} if token else {}
    answer = ecs.describe_capacity_providers(maxResults=1, **more)
    providers += [provider["name"] for provider in answer["capacityProviders"]]
    token = answer.get("nextToken", "")
assert providers == ["FARGATE", "FARGATE_SPOT"], providers

for number in range(5):
    logs.create_log_group(logGroupName=f"/paged/{number}")
    logs.create_log_stream(logGroupName="/paged/0", logStreamName=f"stream-{number}")
all_in_pages(logs, "describe_log_groups", "logGroups", 5, 2, logGroupNamePrefix="/paged/")
all_in_pages(logs, "describe_log_streams", "logStreams", 5, 2, logGroupName="/paged/0")
import time

now = int(time.time() * 1000)
events = [{"timestamp": now + number, "message": f"line {number}"} for number in range(7)]
logs.put_log_events(logGroupName="/paged/0", logStreamName="stream-0", logEvents=events)
found, _ = pages(logs, "filter_log_events", "events", 3, logGroupName="/paged/0")
assert [event["message"] for event in found] == [f"line {number}" for number in range(7)], found
print("filter_log_events 7")
print("all well")
