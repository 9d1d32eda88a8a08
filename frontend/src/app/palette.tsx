/** Everything by keyboard: pages, instances, and what each instance can do now. */
import { Command } from "cmdk";
import { useNavigate } from "react-router";
import { useHibernateMutation, useWakeMutation, type InstanceView } from "@/api";
import { can } from "@/api/can";
import { tell } from "@/components/tell";
import { Dialog, DialogContent } from "@/components/ui/dialog";
import { paths } from "@/lib/paths";

const PAGES: [string, string][] = [
  ["Instances", paths.instances],
  ["Deploy a new instance", paths.deploy],
  ["Market, price alerts", paths.market],
  ["Machines, receipts, pools", paths.machines],
  ["Models and playground", paths.models],
  ["Snapshots", paths.snapshots],
  ["Standby, failover and drills", paths.standby],
  ["Usage and budget", paths.usage],
  ["Settings, keys, webhooks", paths.settings],
  ["Storage, buckets of your own", `${paths.settings}#storage`],
];

const item = "flex cursor-pointer items-center justify-between rounded-md px-3 py-2 text-sm data-[selected=true]:bg-muted";

export function Palette(props: { open: boolean; onOpenChange: (open: boolean) => void; instances: InstanceView[] }) {
  const navigate = useNavigate();
  const [hibernate] = useHibernateMutation();
  const [wake] = useWakeMutation();
  const close = () => props.onOpenChange(false);
  const go = (path: string) => {
    close();
    void navigate(path);
  };
  const run = (words: string, act: Promise<unknown>) => {
    close();
    void tell(words, act);
  };
  return (
    <Dialog open={props.open} onOpenChange={props.onOpenChange}>
      <DialogContent heading="Search and commands" hideHeading className="p-2">
        <Command label="Search and commands">
          <Command.Input placeholder="Go to, or do…" className="h-11 w-full border-b bg-transparent px-3 text-sm outline-none" />
          <Command.List className="max-h-[50vh] overflow-auto p-1">
            <Command.Empty className="p-4 text-sm text-muted-foreground">Nothing matches.</Command.Empty>
            <Command.Group heading="Pages" className="text-xs text-muted-foreground">
              {PAGES.map(([label, path]) => (
                <Command.Item key={path} onSelect={() => go(path)} className={`${item} text-foreground`}>
                  {label}
                </Command.Item>
              ))}
            </Command.Group>
            <Command.Group heading="Instances" className="text-xs text-muted-foreground">
              {props.instances.map((one) => (
                <Command.Item key={one.id} value={`${one.name} ${one.id}`} onSelect={() => go(paths.instance(one.id))} className={`${item} text-foreground`}>
                  {one.name} <span className="text-xs text-muted-foreground">{one.state}</span>
                </Command.Item>
              ))}
              {props.instances.filter((one) => can("wake", one)).map((one) => (
                <Command.Item
                  key={`wake ${one.id}`}
                  onSelect={() => run(`${one.name} is waking`, wake({ instance: one.id, wait: 0 }).unwrap())}
                  className={`${item} text-foreground`}
                >
                  Wake {one.name}
                </Command.Item>
              ))}
              {props.instances.filter((one) => can("hibernate", one)).map((one) => (
                <Command.Item
                  key={`hibernate ${one.id}`}
                  onSelect={() => run(`${one.name} is hibernating`, hibernate({ instance: one.id, wait: 0 }).unwrap())}
                  className={`${item} text-foreground`}
                >
                  Hibernate {one.name}
                </Command.Item>
              ))}
            </Command.Group>
          </Command.List>
        </Command>
      </DialogContent>
    </Dialog>
  );
}
