"""boto3 against a running Longshore: one step in the life of the service `web`."""

import json
import sys
import time

import boto3

step, image = sys.argv[1:3]
ecs = boto3.client("ecs")
FAMILY = SERVICE = "web"
DESIRED = 2


def waiter(name):
    made = ecs.get_waiter(name)
    made.config.delay, made.config.max_attempts = 1, 120
    return made


def register():
    container = {
        "name": "main",
        "image": image,
        "memory": 16,
        "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"],
        "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 5},
    }
    answer = ecs.register_task_definition(family=FAMILY, containerDefinitions=[container])
    return answer["taskDefinition"]["taskDefinitionArn"]


def described():
    answer = ecs.describe_services(services=[SERVICE])
    assert answer["failures"] == [], answer
    return answer["services"][0]


def tasks(status="RUNNING"):
    arns = ecs.list_tasks(serviceName=SERVICE, desiredStatus=status)["taskArns"]
    return ecs.describe_tasks(tasks=arns)["tasks"] if arns else []


def settled(desired):
    """Waits until the service is stable, its one deployment complete; answers it."""
    waiter("services_stable").wait(services=[SERVICE])
    for _ in range(600):
        service = described()
        done = [it["rolloutState"] for it in service["deployments"]] == ["COMPLETED"]
        if done and service["runningCount"] == desired and service["pendingCount"] == 0:
            break
        time.sleep(0.2)
    else:
        raise AssertionError(json.dumps(service, default=str))
    assert service["desiredCount"] == desired, service
    deployment = service["deployments"][0]
    assert deployment["status"] == "PRIMARY", deployment
    assert deployment["runningCount"] == desired and deployment["pendingCount"] == 0, deployment
    assert deployment["rolloutStateReason"] == f"ECS deployment {deployment['id']} completed.", deployment
    return service


def created():
    ecs.create_cluster()
    definition = register()
    service = ecs.create_service(serviceName=SERVICE, taskDefinition=FAMILY, desiredCount=DESIRED)["service"]
    assert service["status"] == "ACTIVE" and service["taskDefinition"] == definition, service
    assert (service["runningCount"], service["pendingCount"]) == (0, 0), service
    service = settled(DESIRED)
    messages = [event["message"] for event in service["events"]]
    assert any(message.startswith(f"(service {SERVICE}) has started 2 tasks: (task ") for message in messages), messages
    assert messages[0] == f"(service {SERVICE}) has reached a steady state.", messages
    assert f"(service {SERVICE}) (deployment {service['deployments'][0]['id']}) deployment completed." in messages
    for task in tasks():
        assert task["group"] == f"service:{SERVICE}" and task["startedBy"] == service["deployments"][0]["id"], task
        assert task["taskDefinitionArn"] == definition and task["launchType"] == "EC2", task


def roll():
    definition = register()
    assert described()["taskDefinition"] != definition
    service = ecs.update_service(service=SERVICE, taskDefinition=definition)["service"]
    assert [it["status"] for it in service["deployments"]] == ["PRIMARY", "ACTIVE"], service["deployments"]
    assert service["deployments"][0]["rolloutState"] == "IN_PROGRESS", service["deployments"]
    assert service["taskDefinition"] == definition, service


def finish():
    service = settled(DESIRED)
    running = tasks()
    assert len(running) == DESIRED, running
    assert {task["taskDefinitionArn"] for task in running} == {service["taskDefinition"]}, running
    assert all(task["lastStatus"] == "RUNNING" for task in running), running
    stopped = tasks("STOPPED")
    assert stopped
    for task in stopped:
        assert task["taskDefinitionArn"] != service["taskDefinition"], task
        assert task["stopCode"] == "ServiceSchedulerInitiated", task
        assert task["stoppedReason"].startswith("Scaling activity initiated by (deployment ecs-svc/"), task


def scale():
    running = [task["taskArn"] for task in tasks()]
    service = ecs.update_service(service=SERVICE, desiredCount=0)["service"]
    assert (service["desiredCount"], len(service["deployments"])) == (0, 1), service
    settled(0)
    assert tasks() == []
    for task in ecs.describe_tasks(tasks=running)["tasks"]:
        assert task["stoppedReason"].startswith("Scaling activity initiated by (deployment ecs-svc/"), task


def delete():
    service = ecs.delete_service(service=SERVICE)["service"]
    assert service["status"] in ("DRAINING", "INACTIVE"), service
    waiter("services_inactive").wait(services=[SERVICE])
    service = described()
    assert (service["status"], service["deployments"]) == ("INACTIVE", []), service
    assert ecs.list_services()["serviceArns"] == []


{"create": created, "roll": roll, "finish": finish, "scale": scale, "delete": delete}[step]()
