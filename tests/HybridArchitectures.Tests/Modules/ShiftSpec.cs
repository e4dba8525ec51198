using HybridArchitectures.Modules;
using HybridArchitectures.Tests.Modules;

namespace HybridArchitectures.Tests.Design;

public sealed partial record ShiftSpec
{
    public override Mixer CreateMixer(ModuleFactory factory) => new ShiftMixer(factory, By);
}

public sealed partial record UnknownSpec
{
    public override Mixer CreateMixer(ModuleFactory factory) => throw new NotSupportedException("a spec without module");
}
