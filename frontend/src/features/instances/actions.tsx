import { lazy } from "react";
import { useDestroyMutation, useEditInstanceMutation, useHibernateMutation, useTakeSnapshotMutation, useWakeMutation, type InstanceView } from "@/api";
import { can, whyNot } from "@/api/can";
import { Confirm } from "@/components/confirm";
import { Modal } from "@/components/modal";
import { Part } from "@/components/part";
import { tell } from "@/components/tell";
import { Button } from "@/components/ui/button";

const Edit = lazy(async () => ({ default: (await import("@/features/instances/edit")).Edit }));

export function Actions({ instance, all = false }: { instance: InstanceView; all?: boolean }) {
  const [wake, waking] = useWakeMutation();
  const [hibernate, hibernating] = useHibernateMutation();
  const [destroy] = useDestroyMutation();
  const [edit] = useEditInstanceMutation();
  const [snapshot, saving] = useTakeSnapshotMutation();
  const { id, name } = instance;
  const noHibernate = whyNot("hibernate", instance) ?? (instance.restoring ? "Its files are still coming back." : null);
  const kept = instance.keep_awake_until !== null && Date.parse(instance.keep_awake_until) > Date.now();
  return (
    <div className={all ? "flex flex-wrap gap-2" : "flex justify-end gap-2"}>
      {can("wake", instance) ? (
        <Button
          size="sm"
          disabled={waking.isLoading}
          onClick={() => void tell(`${name} is waking`, wake({ instance: id, wait: 0 }).unwrap())}
        >
          Wake
        </Button>
      ) : (
        <Button
          size="sm"
          variant="outline"
          disabled={hibernating.isLoading}
          disabledReason={noHibernate}
          onClick={() => void tell(`${name} is hibernating`, hibernate({ instance: id, wait: 0 }).unwrap())}
        >
          Hibernate
        </Button>
      )}
      {all && (
        <>
          <Button
            size="sm"
            variant="outline"
            disabledReason={whyNot("keep_awake", instance)}
            onClick={() =>
              void tell(kept ? "It may sleep again" : "Kept awake for an hour", edit({ instance: id, patch: { keep_awake_s: kept ? 0 : 3600 } }).unwrap())
            }
          >
            {kept ? "Let it sleep" : "Keep awake 1 h"}
          </Button>
          <Button
            size="sm"
            variant="outline"
            disabled={saving.isLoading}
            disabledReason={whyNot("snapshot", instance)}
            onClick={() => void tell("Snapshot taken", takeAndCheck(snapshot({ instance: id, wait: 25 }).unwrap()))}
          >
            Snapshot now
          </Button>
          <Modal
            trigger={
              <Button size="sm" variant="outline" disabledReason={whyNot("edit", instance)}>
                Settings
              </Button>
            }
            heading={`Settings of ${name}`}
          >
            {(close) => (
              <Part>
                <Edit instance={instance} close={close} />
              </Part>
            )}
          </Modal>
          <Confirm
            trigger={
              <Button size="sm" variant="danger" disabledReason={whyNot("destroy", instance)}>
                Destroy
              </Button>
            }
            heading={`Destroy ${name}?`}
            description="Its machine, every snapshot and every file go for good. Nothing is left to restore."
            action="Destroy it"
            typed={name}
            onConfirm={() => void tell(`${name} is being destroyed`, destroy({ instance: id, wait: 0 }).unwrap())}
          />
        </>
      )}
    </div>
  );
}

async function takeAndCheck(taking: Promise<{ data: { state: string } }>): Promise<void> {
  const { data } = await taking;
  if (data.state === "failed") throw { message: "The snapshot failed; the event log says why." };
}
