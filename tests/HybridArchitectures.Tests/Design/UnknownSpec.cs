using HybridArchitectures.Design;

namespace HybridArchitectures.Tests.Design;

/// <summary>A user's mixer that nobody registers.</summary>
public sealed partial record UnknownSpec : CustomMixerSpec
{
    public override string Symbol => "Y";

    public override long CountParameters(int width) => 0;
}
