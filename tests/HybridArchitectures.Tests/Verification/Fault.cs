namespace HybridArchitectures.Tests.Verification;

/// <summary>Specifies the fault of a <see cref="BrokenMixer"/>.</summary>
public enum Fault
{
    None, SeesTheNextToken, CountsPads, ForgetsItsState, StepsDifferently, LeaksOverDocuments, MixesRows, MovesRows, KeepsMoreThanItsTensors, Throws,
        GivesNaN, CountsItsCacheWrongly,
}
