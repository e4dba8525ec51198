using HybridArchitectures.Training.Distributed;
using HybridArchitectures.Training.Running;

namespace RankedRun;

/// <summary>Checks that ranks which differ do not train together, and prints the messages.</summary>
static class Refusals
{
    public static void Run(Collectives ranks)
    {
        var plain = Scenario.All[0];
        bool isFirst = ranks.IsFirst;
        Refuse(() => plain.Run(new(ranks), seed: isFirst ? 5 : 6));
        Refuse(() => (isFirst ? plain : Scenario.All[1]).Run(new(ranks)));
        Refuse(() => (isFirst ? plain : plain with { Experts = true }).Run(new(ranks)));
        Refuse(() => plain.Run(new(ranks) { Strategy = isFirst ? DataParallelStrategy.FullySharded : DataParallelStrategy.Replicated }));
    }

    static void Refuse(Action action)
    {
        try
        {
            action();
        }
        catch (CollectiveException e)
        {
            Output.Print($"refused: {e.Message}");
            return;
        }
        throw new InvalidOperationException("ranks that differ trained together");
    }
}
