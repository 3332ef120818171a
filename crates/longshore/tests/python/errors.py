"""boto3 against a running Longshore: refusals are raised as the exceptions of the service's model."""

import boto3
from botocore.exceptions import ClientError

ecs = boto3.client("ecs")
ecs.create_cluster()


def raises(exception, message, call, **arguments):
    try:
        call(**arguments)
    except exception as error:
        answer = error.response
        assert isinstance(error, ClientError)
        assert answer["Error"]["Code"] == exception.__name__, answer
        assert answer["Error"]["Message"] == message, answer
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400, answer
        assert len(answer["ResponseMetadata"]["RequestId"]) == 36, answer
        print(exception.__name__)
    else:
        raise AssertionError(f"{call} {arguments} is not refused")


known = ecs.exceptions
raises(known.ClusterNotFoundException, "Cluster not found.", ecs.list_tasks, cluster="nothing")
raises(known.ClientException, "TaskDefinition not found.", ecs.run_task, taskDefinition="nothing")
raises(known.ClientException, "Unable to describe task definition.", ecs.describe_task_definition, taskDefinition="a")
raises(known.ServiceNotFoundException, "Service not found.", ecs.update_service, service="nothing")
raises(known.InvalidParameterException, "Tasks cannot be empty.", ecs.describe_tasks, tasks=[])
raises(known.InvalidParameterException, "The referenced task was not found.", ecs.stop_task, task="0" * 32)
print("all raised")
